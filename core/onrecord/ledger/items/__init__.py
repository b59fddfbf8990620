"""Items and their namespaces in SQL."""
