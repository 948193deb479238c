"""Recordings: folders, and the ready-made ones."""
