"""How sessions and stores show themselves in a notebook."""
