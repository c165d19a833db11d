"""A source file as Parquet, with its audit and quarantine."""
