"""Images from folders, arrays and streams, and ready-made datasets."""
