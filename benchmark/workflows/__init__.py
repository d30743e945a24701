"""Workflows of the commands, from a study to the result."""
