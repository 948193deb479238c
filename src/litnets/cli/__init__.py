"""The command line: parser, checks before a run, error messages."""
