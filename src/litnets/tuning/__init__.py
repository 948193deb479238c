"""Commands that train several runs: cross-validation, several seeds, a hyperparameter search."""
