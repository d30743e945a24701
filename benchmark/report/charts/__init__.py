"""Charts of an analysis, as Vega-Lite specifications, for the HTML page and for files."""
