"""Saving checkpoints, and loading them safely."""
