"""What a study runs: architectures, weights and teachers."""
