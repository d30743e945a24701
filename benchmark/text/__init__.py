"""Numbers, tables and recipes as text."""
