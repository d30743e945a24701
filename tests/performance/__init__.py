"""Benchmarks: each times two ways of doing the same, in turn in one run, and gives the ratio."""
