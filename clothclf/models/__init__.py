"""Models: timm backbones, their weights, and our classifier heads."""
