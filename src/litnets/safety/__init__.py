"""Handle files, names and texts from strangers: nothing in them runs code, is followed, or controls the terminal."""
