"""Study configs: strict YAML, recipes and tracking credentials."""
