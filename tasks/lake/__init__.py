"""The lake: facts as Parquet files by day, in a folder or an object store."""
