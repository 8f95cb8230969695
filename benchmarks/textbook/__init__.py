"""Each stage written straight from its equation, as research code does it.

Neighbors are unfolded into memory, photos are processed one by one, each threshold is refined on its own, and every
pass runs the whole network and keeps each block's attention. ``tests/benchmarks`` checks that the results equal those
of the package.
"""
