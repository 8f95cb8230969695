"""Pure functions on tensors: nothing but torch and the standard library."""
