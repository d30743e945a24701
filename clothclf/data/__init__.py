"""Data: sources of images, their checks, filters, splits, cache and augmentation."""
