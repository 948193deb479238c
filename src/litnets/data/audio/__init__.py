"""Audio recordings from folders, and ready-made datasets."""
