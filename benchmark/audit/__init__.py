"""Data audits: near-duplicates and suspected label errors."""
