"""What each command does, end to end."""
