"""The report: records side by side, the pick, and how it is written."""
