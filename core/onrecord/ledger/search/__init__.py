"""SQL of search: an index of what was said, which is never the truth."""
