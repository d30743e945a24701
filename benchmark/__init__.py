"""bench: the harness that runs, tracks and reports studies of image architectures."""
