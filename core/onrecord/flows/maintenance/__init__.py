"""In which order things happen where everything that is stored is gone through."""
