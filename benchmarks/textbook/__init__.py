"""Each stage written straight from its equation, in the way that papers' code does it.

Neighbours are unfolded into memory, photos are taken one by one, each threshold is refined for itself, every pass runs
the whole network and keeps every block's attention. Results equal those of the package; ``tests/benchmarks`` checks it.
"""
