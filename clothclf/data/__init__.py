"""Data sets: image sources, validation, filters, splits, decoded-image cache and augmentation."""
