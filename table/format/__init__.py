"""Data files: how rows are read from and written to them. One format a file; Parquet for now."""
