"""Images: folders, arrays, streams, and the ready-made ones."""
