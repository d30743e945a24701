"""Select among many architectures within a time budget by successive halving."""
