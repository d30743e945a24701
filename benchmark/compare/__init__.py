"""Two runs, or two studies, side by side: how far apart, how sure, at what cost."""
