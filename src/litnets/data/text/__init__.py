"""Texts: CSV, TSV, JSONL, folders, and the ready-made ones."""
