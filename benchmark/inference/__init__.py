"""Inference with the trained classifier of a finished run."""
