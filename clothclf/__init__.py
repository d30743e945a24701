"""clothclf: prepare labelled images, train timm classifiers and measure what they cost."""

__version__ = "0.1.0"
