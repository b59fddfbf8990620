"""Threads and their checkpoints in SQL."""
