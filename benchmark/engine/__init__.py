"""Execution of runs: each in its own process, scheduled, probed and stopped."""
