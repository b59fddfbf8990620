"""Turns on sessions and on threads: one mechanism for both."""
