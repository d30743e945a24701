"""What happens when something goes wrong, or somebody means it to."""
