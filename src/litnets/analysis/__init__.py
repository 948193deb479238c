"""After training: use a run."""
