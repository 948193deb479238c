"""Use a trained network outside of litnets."""
