"""Carrying out runs: the stages of one, its folder, its process, and the schedule of all."""
