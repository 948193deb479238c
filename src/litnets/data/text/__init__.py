"""Text data: CSV, TSV, JSONL, folders of text files, and ready-made data sets."""
