"""In which order things happen to a thread's checkpoints."""
