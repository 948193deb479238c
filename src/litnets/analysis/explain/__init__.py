"""Explain a trained network: attributions with their checks, permutation importance, filters and units."""
