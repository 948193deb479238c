"""Time series data: forecasting and classification, from CSV files and ready-made data sets."""
