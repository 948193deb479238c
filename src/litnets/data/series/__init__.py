"""Time series: forecasting and classification."""
