"""Counters of multiply-adds."""
