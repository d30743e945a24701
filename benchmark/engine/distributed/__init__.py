"""Distributed training of one run by several processes."""
