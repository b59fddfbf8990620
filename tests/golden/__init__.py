"""Databases as earlier versions of Onrecord wrote them, and what has to be read from them."""
