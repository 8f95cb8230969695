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
    """A stage, ready to run; both calls return what ``differ`` compares.

    Attributes:
        textbook: The textbook's way.
        ours: This package's.
        differ: Describes how much the two results differ.
    """

    textbook: Callable[[], Any]
    ours: Callable[[], Any]
    differ: Callable[[Any, Any], str]


class Comparison(NamedTuple):
    """Seconds of each round by way, how much the results differ, and peak bytes above the start by way."""

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
    """Seconds of both ways in ``rounds`` rounds, and how much the results of the first round differ.

    Ours, the shorter one, runs ``repeats`` times per round, and the median counts. There is no warm-up: a training step
    would change the network.
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
    """Peak resident memory of a call in bytes, above what the process held before it (Linux)."""
    with suppress(AttributeError):  # where the C library is not GNU's
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed but kept would serve the call and not count
    CLEAR.write_text("5")  # resets the high-water mark
    before = _kilobytes("VmRSS")
    job()
    return 1024 * (_kilobytes("VmHWM") - before)


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", STATUS.read_text())
    return int(found[1]) if found else 0


def peak_in_own_process(stage: str, way: str, threads: int) -> int:
    """``peak_of`` a stage of ``benchmarks.stages``; 0 where the system does not report it."""
    if not CLEAR.exists():
        return 0
    command = [sys.executable, "-m", "benchmarks", "--peak", stage, way, "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
