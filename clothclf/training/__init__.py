"""Training: loop, optimizer, checkpoints, distillation and evaluation."""
