"""The warehouse: its tables, loads and reconciliation."""
