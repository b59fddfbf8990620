"""SQL of feeds: the rows of readers, and how far each has finished each session."""
