"""How sessions, stores and items show themselves in a notebook."""
