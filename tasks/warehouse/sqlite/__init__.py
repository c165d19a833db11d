"""SQLite as the warehouse: a file. All that is particular to SQLite is here."""
