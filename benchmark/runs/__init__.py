"""Identity, results and files of runs."""
