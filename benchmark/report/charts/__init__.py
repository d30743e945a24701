"""Charts of an analysis, drawn with Vega-Altair, for the HTML page and for files."""
