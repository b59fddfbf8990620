"""Sessions and their messages in SQL."""
