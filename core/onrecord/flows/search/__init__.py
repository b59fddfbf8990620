"""Flows of search: how the index catches up, how what was said is found, and recalled."""
