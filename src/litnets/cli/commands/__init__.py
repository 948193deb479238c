"""Commands of their own, one module each."""
