"""Slow and obvious versions of the operations, straight from the equations."""
