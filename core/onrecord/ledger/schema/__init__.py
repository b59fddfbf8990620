"""The tables, and the steps that make them."""
