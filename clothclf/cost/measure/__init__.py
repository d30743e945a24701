"""Measured latency, throughput and memory."""
