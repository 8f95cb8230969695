"""Two ways of one stage side by side: time turn by turn in one process, peak memory each in a process of its own."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Ways(NamedTuple):
    """A stage, ready to run; both calls give what ``differ`` compares.

    Attributes:
        textbook: The textbook's way.
        ours: This package's.
        differ: How far the two results are apart, in words.
    """

    textbook: Callable[[], Any]
    ours: Callable[[], Any]
    differ: Callable[[Any, Any], str]


class Comparison(NamedTuple):
    """Seconds of each round, what the results differ by, and bytes above the start, each by way."""

    seconds: Mapping[str, list[float]]
    difference: str
    peaks: Mapping[str, int]

    @property
    def speed_up(self) -> float:
        """Median over the rounds of the textbook's seconds over ours."""
        pairs = zip(self.seconds["textbook"], self.seconds["ours"], strict=True)
        return median(theirs / own for theirs, own in pairs)


def seconds_of(job: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock seconds of a call, and its result."""
    start = time.perf_counter()
    found = job()
    return time.perf_counter() - start, found


def take_turns(ways: Ways, rounds: int, *, repeats: int = 1) -> tuple[dict[str, list[float]], str]:
    """Seconds of both ways in ``rounds`` rounds, and by what the results of the first differ.

    Ours, the shorter, runs ``repeats`` times a round and counts with the median. Nothing is warmed up: a training step
    that ran before would have another network.
    """
    seconds: dict[str, list[float]] = {"textbook": [], "ours": []}
    difference = ""
    for _ in range(rounds):
        before, theirs = seconds_of(ways.textbook)
        runs = [seconds_of(ways.ours) for _ in range(repeats)]
        seconds["textbook"].append(before)
        seconds["ours"].append(median(run[0] for run in runs))
        difference = difference or ways.differ(theirs, runs[0][1])
    return seconds, difference


def peak_of(job: Callable[[], Any]) -> int:
    """Bytes of resident memory that a call needs at most, above what the process held before it (Linux)."""
    with suppress(AttributeError):  # where the C library is not GNU's
        ctypes.CDLL(None).malloc_trim(0)  # what was freed but kept would serve the call and not be counted
    CLEAR.write_text("5")  # the high-water mark starts anew
    before = _kilobytes("VmRSS")
    job()
    return 1024 * (_kilobytes("VmHWM") - before)


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", STATUS.read_text())
    return int(found[1]) if found else 0


def peak_in_own_process(stage: str, way: str, threads: int) -> int:
    """``peak_of`` a stage of ``benchmarks.stages``; 0 where the system does not tell."""
    if not CLEAR.exists():
        return 0
    command = [sys.executable, "-m", "benchmarks", "--peak", stage, way, "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
