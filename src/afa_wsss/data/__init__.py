"""Data sets of photos with image labels, and what turns them into batches."""
