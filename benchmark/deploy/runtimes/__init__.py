"""Runtimes of variants: one module per library."""
