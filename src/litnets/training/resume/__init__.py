"""Resume a run exactly where it was interrupted."""
