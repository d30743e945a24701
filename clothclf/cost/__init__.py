"""Cost: what an architecture computes, weighs and sees, counted without touching a model in use."""
