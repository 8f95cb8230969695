"""From samples to batches: settings, crops, training and evaluation sets."""
