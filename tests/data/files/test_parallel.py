from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import get_ident

import pytest

from afa_wsss.data.files.parallel import THREADS, process_map, thread_map


def _double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_from_any_number_of_processes(workers: int) -> None:
    assert list(process_map(_double, iter(range(200)), workers=workers)) == [2 * number for number in range(200)]


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    results = process_map(_double, (taken.append(n) or n for n in range(10_000)), workers=2)
    assert next(results) == 0
    assert len(taken) < 500
    results.close()


def test_workers_exit_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "from afa_wsss.data.files.parallel import process_map\n"
        "from tests.data.files.test_parallel import leave_pid\n"
        f"if __name__ == '__main__':\n    list(process_map(leave_pid, [r'{tmp_path}'] * 40, workers=2))\n"
    )
    (tmp_path / "start.py").write_text(code)
    folder = Path(__file__).parents[3]
    paths = os.pathsep.join([str(folder), str(folder / "src"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen([sys.executable, tmp_path / "start.py"], env=os.environ | {"PYTHONPATH": paths}) as parent:
        _wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        assert all(_runs(worker) for worker in workers)
        parent.kill()
    _wait_until(lambda: not any(_runs(worker) for worker in workers))


def leave_pid(folder: str) -> None:
    """Writes the id of its process and stays busy."""
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("still not done after a minute")


def test_a_function_that_waits_runs_in_threads_and_results_stay_in_order() -> None:
    threads = set()

    def wait(item: int) -> int:
        threads.add(get_ident())
        time.sleep(0.01)
        return -item

    assert list(thread_map(wait, iter(range(3 * THREADS)))) == [-item for item in range(3 * THREADS)]
    assert len(threads) > 1


def test_a_function_that_computes_stays_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def compute(_: int) -> int:
        clock[0] += 1
        return get_ident()

    for name in ("time.thread_time", "time.perf_counter"):
        monkeypatch.setattr(name, lambda: clock[0])
    assert set(thread_map(compute, range(300))) == {get_ident()}


def test_a_slow_disk_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One item in this thread, then a round in threads, and so on."""
    monkeypatch.setattr("time.thread_time", lambda: 0.0)
    monkeypatch.setattr("afa_wsss.data.files.parallel.TURNS", 1)
    found = list(thread_map(lambda _: get_ident(), range(3 * (1 + THREADS))))
    here = [index for index, thread in enumerate(found) if thread == get_ident()]
    assert here == [0, 1 + THREADS, 2 * (1 + THREADS)]


def test_errors_are_raised_and_no_items_give_no_results() -> None:
    assert list(thread_map(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(thread_map(lambda item: 1 // item, [1, 0]))
