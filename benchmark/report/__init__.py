"""Reports: compare the runs of a study, pick an architecture, write the result."""
