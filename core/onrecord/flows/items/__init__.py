"""In which order items are read and written."""
