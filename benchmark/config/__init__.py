"""Studies as YAML files: read strictly, with recipes and credentials."""
