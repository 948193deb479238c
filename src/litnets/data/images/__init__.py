"""Images from folders, arrays and streams, and ready-made data sets."""
