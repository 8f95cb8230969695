"""From samples to batches: crops, training and evaluation sets."""
