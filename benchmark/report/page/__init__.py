"""The report as one HTML page: what goes into it, its templates, style and script."""
