"""Choose among many architectures within a time: successive halving over plain runs."""
