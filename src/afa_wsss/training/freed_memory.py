"""Memory that one training step frees is kept for the next one, instead of being handed back to the system.

The C library of Linux asks the kernel for new pages for every tensor above 32 MiB and gives them back when the tensor
is freed. The kernel fills new pages with zeros and maps them one by one: on a CPU this is up to a third of a step.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of ``mallopt``, from malloc.h."""

_LARGEST = 2**31 - 1

SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Variables by which a user chooses how memory is allocated; where one is set, that choice stands."""


def keep_freed_memory() -> bool:
    """Lets glibc keep what this process frees; the largest amount in use at a time stays what it was.

    Returns:
        Whether it does: never on other systems or C libraries, nor where one of ``SETTINGS`` is set.
    """
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST))
