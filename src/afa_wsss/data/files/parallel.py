"""Work on many files in order: over all cores with few of them in memory at a time, or while others are waited for."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items that a process is handed at a time."""

AHEAD = 4
"""Chunks that wait for each process."""

THREADS, TURNS = 8, 16
"""Threads that hide the waiting for a slow disk, and items that each takes before the disk is judged again."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mapped(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """``function`` of each item, in order; ``items`` are taken as they are needed, so they may be endless.

    Args:
        function: Can be pickled, and so can what it takes and returns. Each process gets it once.
        items: Anything to iterate over.
        workers: Processes; 1 works in this one.

    Yields:
        One result an item.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    rest = iter(items)
    waiting: deque[Future[list[Result]]] = deque()
    # Forked processes would inherit the locks of torch's threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (function,)) as pool:
        try:
            while True:
                while len(waiting) < AHEAD * workers and (chunk := list(islice(rest, CHUNK))):
                    waiting.append(pool.submit(_each, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_task: list[Callable[[Any], Any]] = []
"""What this process has to do, in a process of ``mapped``."""


def _begin(function: Callable[[Any], Any]) -> None:
    """Takes the task over; the process ends with the one that started it, however that ends."""
    _task[:] = [function]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is told, and ends the others
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _each(items: list[Any]) -> list[Any]:
    return [_task[0](item) for item in items]


def overlapped(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of each item, in order: by threads where it waits for more than it works, else one by one.

    A thread gives way to another at every file that it opens; where files are in memory, that costs more than the rest.

    Args:
        function: Mostly Python around files; an item is worth some milliseconds.
        items: Anything to iterate over.

    Yields:
        One result an item.
    """
    rest = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        for item in rest:
            start, working = time.perf_counter(), time.thread_time()
            result = function(item)
            took, worked = time.perf_counter() - start, time.thread_time() - working
            yield result
            if worked < took / 2:
                yield from pool.map(function, islice(rest, THREADS * TURNS))
