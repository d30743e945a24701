"""Execution of runs: scheduling, processes, stages, probes and executors."""
