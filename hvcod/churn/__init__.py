"""Retrains compared: measures of churn, their statistics, the page that shows them."""
