"""Executor for Ray clusters."""
