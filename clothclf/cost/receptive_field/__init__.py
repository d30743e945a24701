"""Theoretical receptive fields, propagated through a forward pass."""
