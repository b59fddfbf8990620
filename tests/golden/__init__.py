"""Databases as earlier versions of Recollect wrote them, and what has to be read from them."""
