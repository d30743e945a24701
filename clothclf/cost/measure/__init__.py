"""Measurement of latency, throughput and memory."""
