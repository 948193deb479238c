"""Tables: CSV, Parquet, and the ready-made ones."""
