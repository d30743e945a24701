"""Text formatting of numbers, tables and recipes."""
