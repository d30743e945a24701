"""Export of trained classifiers for other runtimes."""
