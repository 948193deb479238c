"""What every modality shares: the base DataModule, batching, splits, downloads, class folders."""
