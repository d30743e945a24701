"""Runs: what identifies one, what it measured and where its files are."""
