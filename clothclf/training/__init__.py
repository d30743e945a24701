"""Training: the loop, the device, and what a trained model's answers are worth."""
