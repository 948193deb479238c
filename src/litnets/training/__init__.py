"""What happens inside `fit`."""
