"""In which order things happen to a session."""
