"""Planning of a study: architectures, weights, teachers and runs."""
