"""clothclf: a library that prepares labelled images, trains timm classifiers and costs them."""

__version__ = "0.1.0"
