"""Everything that knows Lightning: the module, the data module, optimization, callbacks."""
