"""Train finished runs again on fewer images, for their learning curves."""
