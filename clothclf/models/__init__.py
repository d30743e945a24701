"""Models: timm bodies, their weights, and heads of ours."""
