"""Data set downloads: resumable, verified by checksum, and moved into place when complete."""
