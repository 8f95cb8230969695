"""The report of a sweep: the settings that vary, what they have to do with the score, one page that stands alone."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shlex
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.commands import run_command

from afa_wsss.cli import sweep_report
from afa_wsss.errors import UserError
from afa_wsss.report.sweep_jobs import SweepJob, write_job
from afa_wsss.report.sweep_lines import BOTTOM, HEIGHT, TOP, parallel_coordinates
from afa_wsss.report.sweep_page import summary_of
from afa_wsss.report.sweep_runs import SweepRun, flat, read_sweep
from afa_wsss.report.sweep_values import grouped, heat_map, importances, ordered, repeats


def write_run(folder, number, words, miou, *, error=None):
    status = "failed" if error else "done"
    write_job(folder / str(number), SweepJob(number, words, 1.0, status, 2.0, miou, error))
    if error is None:
        scores = {"val/miou": miou, "val/walk_miou": miou - 3, "val/class_f1": None}
        (folder / str(number) / "metrics.json").write_text(json.dumps(scores))


@pytest.fixture
def sweep(tmp_path):
    """Sixteen runs: alpha decides, the refinement matters a little, the seed does not. One has failed."""
    folder = tmp_path / "a sweep"
    choices = itertools.product((1.0, 2.0, 4.0, 8.0), ("par", "none"), (0, 1))
    for number, (alpha, refinement, seed) in enumerate(choices):
        miou = 50 + 2 * alpha + (refinement == "par") + 0.1 * seed
        words = ("data.root=x", f"supervision.alpha={alpha}", f"supervision/refinement={refinement}", f"seed={seed}")
        write_run(folder, number, words, miou, error="need <this>" if number == 3 else None)
    return folder


def run(miou, **settings):
    return SweepRun("r", {name: str(value) for name, value in settings.items()}, {"val/miou": miou})


def test_only_settings_that_vary_are_compared(sweep):
    runs = read_sweep(sweep)
    assert [one.name for one in runs] == [str(number) for number in range(16)]  # by number, not as text
    assert list(runs[0].settings) == ["supervision.alpha", "supervision/refinement", "seed"]
    assert runs[0].scores == {"val/miou": 53.0, "val/walk_miou": 50.0}
    assert (runs[3].reason, runs[3].scores) == ("need <this>", {})


def test_scores_that_cannot_be_read_are_not_called_missing(tmp_path):
    for name, text in (("a", '{"val/miou": 5.0}'), ("b", '{"val/mi')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    assert [one.reason for one in read_sweep(tmp_path)] == [None, "has no scores that can be read in metrics.json"]


@pytest.mark.parametrize("job", ['{"number": null, "words": [], "started": null}', "[]", "{", '{"words": 3}'])
@pytest.mark.parametrize("scores", ["[1, 2]", "3", "null", '{"val/miou": null}'])
def test_files_of_another_form_are_passed_over(tmp_path, job, scores):
    for name, text in (("a", scores), ("b", '{"val/miou": 5.0}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
        (tmp_path / name / "job.json").write_text(job)
    runs = read_sweep(tmp_path)
    assert [one.reason for one in runs] == ["has no scores that can be read in metrics.json", None]
    assert runs[1].scores == {"val/miou": 5.0}


def test_runs_without_words_are_compared_by_their_configuration(tmp_path):
    for name, alpha in (("one", 2), ("two", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text('{"val/miou": 5.0}')
        text = f"name: {name}\nsupervision:\n  alpha: {alpha}\n  low: ${{supervision.high}}\n  high: null\n"
        (tmp_path / name / "config.yaml").write_text(text)
    assert [one.settings for one in read_sweep(tmp_path)] == [{"supervision.alpha": "2"}, {"supervision.alpha": "4"}]
    assert flat({"a": {"b": None, "c": [1, 2]}}) == {"a.b": "null", "a.c": "[1, 2]"}


def test_a_word_that_a_run_lacks_is_read_from_its_configuration(tmp_path):
    for number, words in enumerate((("optimizer.lr=0.1",), ())):
        write_run(tmp_path, number, words, 5.0)
        (tmp_path / str(number) / "config.yaml").write_text("optimizer:\n  lr: 0.2\n")
    assert [one.settings["optimizer.lr"] for one in read_sweep(tmp_path)] == ["0.1", "0.2"]


def test_the_best_settings_can_be_pasted(tmp_path):
    """A word that only other runs have is left out, and a shell splits none."""
    for number, (words, miou) in enumerate(
        ((("loss.ptc.weight=1", "data.scale=[0.5,1]"), 5.0), (("data.scale=[0.5, 2.0]", "model=mit_b1"), 6.0))
    ):
        write_run(tmp_path, number, words, miou)
    assert shlex.split(" ".join(summary_of(tmp_path, "val/miou").words)) == ["data.scale=[0.5, 2.0]", "model=mit_b1"]


def test_importance_is_the_adjusted_share_of_the_variance():
    rng = np.random.default_rng(0)
    runs = [run(3 * a + b + rng.normal(), a=a, b=b) for a, b in itertools.product(range(3), range(3)) for _ in (0, 1)]
    scores = np.array([one.scores["val/miou"] for one in runs])
    shares = {one.setting: one.share for one in importances(runs, "val/miou")}
    for name in ("a", "b"):
        values = np.array([one.settings[name] for one in runs])
        within = sum(((scores[values == value] - scores[values == value].mean()) ** 2).sum() for value in set(values))
        expected = 1 - within / (len(runs) - 3) / scores.var(ddof=1)
        assert shares[name] == pytest.approx(100 * max(expected, 0))
    assert list(shares) == ["a", "b"]


def test_importance_of_values_that_never_repeat_is_unknown():
    found = importances([run(1.0, a="x"), run(2.0, a="y")], "val/miou")
    assert (found[0].share, found[0].best) == (None, "y")
    assert importances([run(1.0, a=1), run(1.0, a=1), run(1.0, a=2)], "val/miou")[0].share == 0.0


def test_many_numbers_are_cut_into_stretches():
    values = [str(value) for value in range(9)]
    assert grouped(values) == ["0 to 2"] * 2 + ["2 to 4"] * 2 + ["4 to 6"] * 2 + ["6 to 8"] * 3
    assert grouped(["par", *values]) == ["par", *values]
    assert grouped(["2", "1"]) == ["2", "1"]
    assert grouped([str(2020 + value) for value in range(9)])[-1] == "2026 to 2028"
    assert len(set(grouped([str(1000003 + 7 * value) for value in range(9)]))) == 4
    assert grouped([f"{0.5 + value / 1e6:.6f}" for value in range(9)])[0] == "0.5 to 0.500002"
    assert ordered(["10 to 12", "2 to 4", "10 to 12"]) == ["2 to 4", "10 to 12"]
    assert ordered(["par", "none"]) == ["par", "none"]


def test_heat_maps_hold_means():
    runs = [run(1.0, a=2, b="x"), run(3.0, a=2, b="x"), run(5.0, a=1, b="y")]
    found = heat_map(runs, "val/miou", "a", "b")
    assert (found.rows, found.columns) == (["1", "2"], ["x", "y"])
    assert found.cells == [[None, 5.0], [2.0, None]]


def test_repeats_differ_in_their_seed_alone():
    runs = [run(1.0, a=2, seed=0), run(3.0, a=2, seed=1), run(5.0, a=1, seed=0)]
    best, other = repeats(runs, ["val/miou"])
    assert (best.settings, best.means["val/miou"], best.spreads["val/miou"], best.runs) == ({"a": "1"}, 5.0, None, 1)
    assert (other.means["val/miou"], other.spreads["val/miou"], other.runs) == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert repeats([run(1.0, seed=0, a=1), run(1.0, seed=1, a=2)], ["val/miou"]) == []
    assert repeats([run(1.0, a=1), run(2.0, a=2)], ["val/miou"]) == []


def test_lines_end_at_the_score_and_stay_inside():
    runs = [run(10.0, lr=1e-5, kind="par"), run(20.0, lr=1e-3, kind="none"), run(15.0, lr=1e-4, kind="par")]
    drawn = parallel_coordinates(runs, "val/miou", ["lr", "kind"])
    assert drawn is not None
    assert [axis.name for axis in drawn.axes] == ["lr", "kind", "val/miou"]
    assert [line.strength for line in drawn.lines] == [0.0, 0.5, 1.0]  # the best is drawn last, on top
    heights = [[float(point.split(",")[1]) for point in line.path.split()] for line in drawn.lines]
    assert all(TOP <= y <= HEIGHT - BOTTOM for line in heights for y in line)
    assert [line[0] for line in heights] == pytest.approx(
        [HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2, TOP]
    )  # by logs
    assert parallel_coordinates(runs[:1], "val/miou", ["lr"]) is None
    assert parallel_coordinates([run(1.0, lr=1), run(1.0, lr=1)], "val/miou", ["lr"]) is not None


class Links(HTMLParser):
    """Collects what a page would load, and the tags that are open."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line", "circle", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_command_prints_the_best_and_writes_one_page(sweep, capsys):
    assert run_command(sweep_report.main, str(sweep)) == 0
    said = capsys.readouterr().out
    assert "val/miou, 15 runs" in said
    assert "3: need <this>" in said
    assert "the best settings: supervision.alpha=8.0 supervision/refinement=par" in said
    page = (sweep / "sweep.html").read_text()
    links = Links()
    links.feed(page)
    assert (links.loaded, links.open) == ([], [])
    assert "need &lt;this&gt;" in page
    assert re.search(r"67\.\d ± 0\.1", page)  # alpha 8 and PAR, over two seeds: 67.0 and 67.1
    for title in ("Settings, over their seeds", "Runs", "Importance", "Pairs of settings", "Parallel coordinates"):
        assert f"<h2>{title}</h2>" in page
    assert page.count('<polyline class="run"') == 15


def test_another_score_and_place(sweep, tmp_path):
    words = ["metric=val/walk_miou", f"output={tmp_path / 'out' / 'page.html'}"]
    assert run_command(sweep_report.main, str(sweep), *words) == 0
    assert "val/walk_miou of held-out photos" in (tmp_path / "out" / "page.html").read_text()


def test_a_finished_run_without_the_score_is_named(sweep):
    (sweep / "0" / "metrics.json").write_text('{"val/class_f1": 90.0}')
    assert {one.name: one.reason for one in summary_of(sweep, "val/miou").failed} == {
        "0": "has no val/miou", "3": "need <this>"
    }  # fmt: skip


def test_runs_without_masks_are_sorted_by_their_classes(tmp_path, capsys):
    for number, f1 in enumerate((10.0, 90.0)):
        write_job(tmp_path / str(number), SweepJob(number, (f"seed={number}",), 1.0, "done", 2.0))
        (tmp_path / str(number) / "metrics.json").write_text(json.dumps({"val/class_f1": f1, "val/walk_miou": None}))
    assert run_command(sweep_report.main, str(tmp_path)) == 0
    assert "val/class_f1, 2 runs" in capsys.readouterr().out
    assert [one.name for one in summary_of(tmp_path).runs] == ["1", "0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nope"], "folder: need the folder of a sweep, found none at /nope"),
        (["."], "need a folder with the runs of a sweep below it, . has 0"),
        ([], "need a value for folder"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run_command(sweep_report.main, *words) == 1
    assert message in capfd.readouterr().err


def test_a_score_that_no_run_has_is_an_error(sweep):
    with pytest.raises(UserError, match="none of 16 has it; there are val/miou, val/walk_miou"):
        summary_of(sweep, "val/mio")


def test_jobs_of_an_earlier_longer_sweep_are_named(tmp_path, capsys):
    now = time.time()
    for number in range(4):
        write_run(tmp_path, number, (f"seed={number}",), 50.0 + number)
        write_job(tmp_path / str(number), SweepJob(number, (f"seed={number}",), now - 500, "done", 2.0))
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    assert summary_of(tmp_path, "val/miou").notes == []  # as in a copy, where all seem to be older
    for number in range(2):
        write_job(tmp_path / str(number), SweepJob(number, (f"seed={number}",), now + 5, "done", 2.0))
        write_scores = tmp_path / str(number) / "metrics.json"
        os.utime(write_scores, (now + 9, now + 9))
    (note,) = summary_of(tmp_path, "val/miou").notes
    assert note.startswith("2 and 3 are of an earlier sweep in the same folder, and compared all the same: remove")
    assert run_command(sweep_report.main, str(tmp_path)) == 0
    assert "2 and 3 are of an earlier sweep" in capsys.readouterr().out
    assert "2 and 3 are of an earlier sweep" in (tmp_path / "sweep.html").read_text()
    (tmp_path / "2").rename(tmp_path / "seed=2")
    (note,) = summary_of(tmp_path, "val/miou").notes
    assert note.startswith("3 is of an earlier sweep")


def test_scores_count_for_the_job_that_made_them(tmp_path):
    """Not for a job that failed in the folder of an earlier one, nor for a run of their own where they evaluate one."""
    for number in range(4):
        write_run(tmp_path, number, (f"seed={number}",), 50.0 + number)
    now = time.time()
    write_job(tmp_path / "1", SweepJob(1, ("seed=1",), now, "failed", 2.0, None, "need a mask"))
    write_job(tmp_path / "2", SweepJob(2, ("seed=2",), now + 100))
    write_job(tmp_path / "3", SweepJob(3, ("seed=3",), now + 100, "done", 2.0))
    evaluation = tmp_path / "0" / "eval"
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text('{"val/miou": 99.0}')
    runs = read_sweep(tmp_path)
    assert [(one.name, one.scores.get("val/miou")) for one in runs] == [
        ("0", 50.0),
        ("1", None),
        ("2", None),
        ("3", None),
    ]
    killed = "ended without a message: killed, or still running"
    assert [one.reason for one in runs] == [None, "need a mask", killed, "has a metrics.json from before it began"]
