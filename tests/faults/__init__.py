"""Faults injected for real: `make faults` runs all, the suite a quick part."""
