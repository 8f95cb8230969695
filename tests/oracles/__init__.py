"""Slow and obvious versions of the operators, straight from the equations."""
