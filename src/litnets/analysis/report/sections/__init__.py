"""The sections of the report: each module builds one from what a run folder holds."""
