"""Connections, transactions and dialects: how SQL is reached."""
