"""Data set audit: near-duplicates, suspected label errors and unusual images."""
