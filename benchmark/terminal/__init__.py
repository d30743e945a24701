"""Terminal output: tables, log lines, and the live table of a study."""
