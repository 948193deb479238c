"""Log a run to CSV, TensorBoard and Weights & Biases."""
