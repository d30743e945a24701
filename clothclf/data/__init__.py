"""Data: sources of pictures, their checks, filters, splits, cache and augmentation."""
