"""Adds a column to a large table while it is used; any table of a database, not the star alone."""
