"""Charts of an analysis as Vega-Altair draws them, for the page and for files."""
