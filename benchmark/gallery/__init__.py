"""A static site of many packed studies, and of what architectures cost."""
