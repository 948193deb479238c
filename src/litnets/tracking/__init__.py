"""Where a run logs to: CSV, TensorBoard, Weights & Biases."""
