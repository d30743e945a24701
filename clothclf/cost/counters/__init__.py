"""Counters of multiply-adds: torch, fvcore and flopth."""
