"""Compare two runs or two studies: difference, significance and cost."""
