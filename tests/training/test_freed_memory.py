"""Freed memory is kept where glibc allocates it, and nowhere else."""

import platform
import subprocess
import sys

import pytest

from afa_wsss.training import freed_memory

COUNT_FAULTS = """
import resource, sys
import torch
from afa_wsss.training.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(30):  # the first ones still find no hole that fits
    torch.ones(16 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    """Page faults of ten tensors of 64 MiB, one after the other, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_tensor_takes_the_pages_of_the_one_before(monkeypatch):
    for name in freed_memory.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert faults("keep") < faults("return") / 2  # most often none at all; the kernel may take pages back at any time


@pytest.mark.parametrize("name", freed_memory.SETTINGS)
def test_the_choice_of_a_user_stands(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not freed_memory.keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not freed_memory.keep_freed_memory()
