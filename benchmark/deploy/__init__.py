"""Deployed variants of finished runs: files for runtimes, their accuracy and their cost."""
