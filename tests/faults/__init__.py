"""Fault injection tests: `make faults` runs all of them, the normal suite a fast subset."""
