"""Tabular data: CSV and Parquet files, and ready-made data sets."""
