"""Child processes: command lines, the server that forks them, their two sides; quiet loggers."""
