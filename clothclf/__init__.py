"""clothclf: a library that prepares labelled pictures, trains timm classifiers and costs them."""

__version__ = "0.1.0"
