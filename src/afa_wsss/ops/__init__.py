"""Pure functions on tensors: they need torch and the standard library alone."""
