"""Metrics: scores of predictions against masks."""
