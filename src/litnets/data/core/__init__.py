"""Shared by all modalities: the base DataModule, batching, splits, downloads and class folders."""
