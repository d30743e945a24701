"""Receptive fields, by propagation through a forward pass."""
