"""The runner: its words, its CSV file, its table, and runs that fail."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess

import pytest
from benchmarks.options.run import COLUMNS, METRICS, Trial, cell, main, rows_of, train, trials
from benchmarks.options.table import BASELINE, OPTIONS

from benchmarks.options import run


def row(option, seed, **values):
    return dict.fromkeys(COLUMNS, "") | {"option": option, "seed": str(seed)} | values


def test_trials_go_seed_by_seed_with_the_words_of_recipe_and_option(tmp_path) -> None:
    found = trials("partshapes", [BASELINE, "ptc"], [3, 4], folder=tmp_path, extra=["trainer.max_steps=4"])
    assert [(trial.option, trial.seed) for trial in found] == [(BASELINE, 3), ("ptc", 3), (BASELINE, 4), ("ptc", 4)]
    words = found[1].words
    assert words[0] == "experiment=demo"
    assert set(OPTIONS["ptc"]) <= set(words)
    assert words.index("trainer.max_steps=4") < words.index(OPTIONS["ptc"][0])
    assert words[-2:] == ("seed=3", f"output_dir={tmp_path / 'ptc_3'}")


def test_finished_runs_are_rows_and_are_not_done_again(tmp_path, capsys) -> None:
    done = []

    def job(trial):
        done.append((trial.option, trial.seed))
        if trial.option == "ema":
            raise RuntimeError("afa-train ended with 1; need [a GPU]")
        return {"val/miou": 60.0 + trial.seed + 5 * (trial.option == "ptc")}

    words = ["--folder", str(tmp_path), "--seeds", "0", "1", "--options", "ema,ptc"]
    with pytest.raises(SystemExit, match="failed: ema with seed 0, ema with seed 1"):
        main(words, job=job)
    printed = capsys.readouterr().out
    assert "ema, seed 0: failed: afa-train ended with 1; need [a GPU]" in printed
    assert "65.5 ± 0.7 (+5.0*)" in printed
    assert len(done) == 6
    with (tmp_path / "runs.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(one["option"], one["seed"], one["val/miou"]) for one in found] == [
        (BASELINE, "0", "60.000"),
        ("ptc", "0", "65.000"),
        (BASELINE, "1", "61.000"),
        ("ptc", "1", "66.000"),
    ]
    assert tuple(found[0]) == COLUMNS
    assert found[0]["val/crf_miou"] == ""
    done.clear()
    with pytest.raises(SystemExit):
        main(words, job=job)
    assert done == [("ema", 0), ("ema", 1)]
    assert "ptc, seed 1: done before" in capsys.readouterr().out


def test_a_row_that_is_added_later_counts(tmp_path) -> None:
    trial = Trial("ptc", 7, (), tmp_path)
    assert rows_of(tmp_path / "runs.csv") == []
    run.add_row(tmp_path / "runs.csv", trial, dict.fromkeys(METRICS, 1.0), 12.3)
    (found,) = rows_of(tmp_path / "runs.csv")
    assert found["seconds"] == "12"
    assert run.is_done(trial, [found])
    assert not run.is_done(trial._replace(seed=8), [found])


def test_cells() -> None:
    rows = [row(BASELINE, seed, **{"val/miou": str(60 + seed)}) for seed in range(3)]
    rows += [row("ptc", seed, **{"val/miou": str(61.5 + seed)}) for seed in (0, 2)]
    rows += [row("ema", 5, **{"val/miou": "50"})]
    assert cell(rows, BASELINE, "val/miou") == "61.0 ± 1.0"
    # Differences are those of equal seeds: 1.5 at both, above the deviations 1 and sqrt(2).
    assert cell(rows, "ptc", "val/miou") == "62.5 ± 1.4 (+1.5*)"
    assert cell(rows, "ema", "val/miou") == "50.0"
    assert cell(rows, "ptc", "val/walk_miou") == ""


def test_one_seed_marks_nothing() -> None:
    rows = [row(BASELINE, 0, **{"val/miou": "60"}), row("ptc", 0, **{"val/miou": "70"})]
    assert cell(rows, "ptc", "val/miou") == "70.0 (+10.0)"


@pytest.mark.parametrize("names", ["ptcc", "ema,none"])
def test_unknown_options_are_refused(names, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--options", names])
    assert "need options of baseline, ema, ptc, noise" in capsys.readouterr().err


def test_the_command_runs_in_a_process_of_its_own(tmp_path, monkeypatch) -> None:
    called = {}

    def fake(command, *, stdout, stderr, env, check):
        called.update(command=command, path=env["PYTHONPATH"])
        stdout.write("one\ntwo\n")
        (tmp_path / "run" / "metrics.json").write_text(json.dumps({"val/miou": 1.5}))
        return subprocess.CompletedProcess(command, returncode=called.get("code", 0))

    monkeypatch.setattr(run.subprocess, "run", fake)
    trial = Trial("ptc", 0, ("experiment=demo",), tmp_path / "run")
    assert train(trial) == {"val/miou": 1.5}
    assert called["command"][1:] == ["-m", "afa_wsss.cli.train", "experiment=demo"]
    assert called["path"].split(":")[:2] == [str(run.REPOSITORY), str(run.REPOSITORY / "src")]
    called["code"] = 2
    with pytest.raises(RuntimeError, match=r"ended with 2; .*run.log ends:\none\ntwo"):
        train(trial)


def test_the_readme_has_the_words_of_every_option() -> None:
    text = (run.REPOSITORY / "benchmarks" / "options" / "README.md").read_text(encoding="utf-8")
    shown = [shlex.split(line) for line in text.splitlines() if line.startswith("PYTHONPATH=. afa-train")]
    assert [tuple(words[3:]) for words in shown] == [words for name, words in OPTIONS.items() if name != BASELINE]
    assert all(words[:3] == ["PYTHONPATH=.", "afa-train", "experiment=demo"] for words in shown)
    assert all(f"`{name}`" in text for name in OPTIONS if name != BASELINE)


def test_a_file_with_other_columns_is_refused(tmp_path) -> None:
    (tmp_path / "runs.csv").write_text("option,seed\nptc,0\n")
    with pytest.raises(SystemExit, match=r"error: need the columns option, .* got option, seed; choose another"):
        main(["--folder", str(tmp_path)], job=lambda _: {})
