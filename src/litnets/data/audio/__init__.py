"""Audio recordings from folders, and ready-made data sets."""
