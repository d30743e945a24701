"""HTML report: data, templates, style sheet and script of the page."""
