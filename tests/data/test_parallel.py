from __future__ import annotations

import time
from threading import get_ident

import pytest

from afa_wsss.data.files.parallel import THREADS, overlapped


def test_what_waits_is_shared_by_threads_and_stays_in_order() -> None:
    threads = set()

    def wait(item: int) -> int:
        threads.add(get_ident())
        time.sleep(0.01)
        return -item

    assert list(overlapped(wait, iter(range(3 * THREADS)))) == [-item for item in range(3 * THREADS)]
    assert len(threads) > 1


def test_what_works_all_the_time_stays_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.thread_time", time.perf_counter)
    assert set(overlapped(lambda _: get_ident(), range(300))) == {get_ident()}


def test_a_slow_disk_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look here, then a round by threads, and so on."""
    monkeypatch.setattr("time.thread_time", lambda: 0.0)
    monkeypatch.setattr("afa_wsss.data.files.parallel.TURNS", 1)
    found = list(overlapped(lambda _: get_ident(), range(3 * (1 + THREADS))))
    assert [place for place, thread in enumerate(found) if thread == get_ident()] == [0, 1 + THREADS, 2 * (1 + THREADS)]


def test_what_fails_is_told_and_nothing_is_no_item() -> None:
    assert list(overlapped(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(overlapped(lambda item: 1 // item, [1, 0]))
