"""Tests. This file puts the repository, not this folder, on the path: its names are like ours."""
