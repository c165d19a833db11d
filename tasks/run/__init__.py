"""A run: its settings, progress, log and end."""
