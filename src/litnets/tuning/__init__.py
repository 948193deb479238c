"""Train many runs for one answer: cross-validation, several seeds, a search."""
