"""Work on many files, results in order: over all cores with few items in memory, or in threads while a disk is slow."""

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
from typing import Any, Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps results and passes them on unchanged, to show how many are done; ``iter`` shows nothing."""


@runtime_checkable
class ProgressBar(Protocol):
    """Makes a ``Progress`` of its other arguments; ``rich.progress.track`` is one."""

    def __call__(self, items: Iterable[Any], /, *, description: str, total: int) -> Iterable[Any]:
        """``items``, of which there are ``total``."""


def no_progress(items: Iterable[Any], /, *, description: str, total: int) -> Iterable[Any]:
    """A ``ProgressBar`` that shows nothing."""
    del description, total
    return items


CHUNK = 16
"""Items that a process gets at a time."""

AHEAD = 4
"""Chunks queued for each process."""

THREADS, TURNS = 8, 16
"""Threads that hide the latency of a slow disk, and items that each takes before the disk is measured again."""


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_map(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """``map`` in several processes, lazily: ``items`` are taken as they are needed and may be endless.

    Args:
        function: Picklable, as are its argument and result. Each process receives it once.
        items: What to work on.
        workers: Number of processes; 1 works in the calling process.

    Yields:
        One result per item, in order.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    rest = iter(items)
    queue: deque[Future[list[Result]]] = deque()
    # Forked processes would inherit the locks of torch's threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (function,)) as pool:
        try:
            while True:
                while len(queue) < AHEAD * workers and (chunk := list(islice(rest, CHUNK))):
                    queue.append(pool.submit(_run_chunk, chunk))
                if not queue:
                    return
                yield from queue.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker_function: list[Callable[[Any], Any]] = []
"""In a worker of ``process_map``: the function to apply."""


def _start_worker(function: Callable[[Any], Any]) -> None:
    """Keeps the function, and makes the worker exit with its parent, however the parent ends."""
    _worker_function[:] = [function]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops the workers
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_chunk(items: list[Any]) -> list[Any]:
    return [_worker_function[0](item) for item in items]


def thread_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` that moves to threads while ``function`` waits for the disk more than it computes.

    Python switches threads at every file that is opened; with files in the page cache that costs more than it saves.

    Args:
        function: Python code that reads files; one item should take some milliseconds.
        items: What to work on.

    Yields:
        One result per item, in order.
    """
    rest = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        for item in rest:
            start, start_cpu = time.perf_counter(), time.thread_time()
            result = function(item)
            elapsed, cpu = time.perf_counter() - start, time.thread_time() - start_cpu
            yield result
            if cpu < elapsed / 2:
                yield from pool.map(function, islice(rest, THREADS * TURNS))
