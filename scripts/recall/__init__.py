"""Measure search over long conversations: which turns come back, and when nothing should."""
