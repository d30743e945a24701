"""Packs of finished runs: written for other people, verified, and merged into a store."""
