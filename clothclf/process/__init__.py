"""Child processes: command lines, the server that forks them, and how to start them."""
