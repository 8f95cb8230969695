"""Runs of several seeds by the real command: those that are done are left alone, failures are told and survived."""

from __future__ import annotations

import argparse
import json
import shutil

import pytest
from benchmarks.real.__main__ import main
from benchmarks.real.runs import Planned, oracle_words, plan
from tests.benchmarks.real.folders import write_photos
from tests.commands import small_run, write_small_set

from benchmarks.real import runs


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("partshapes"))


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def planned(data, out, *words, seeds=("0", "1"), oracle=False):
    settings = argparse.Namespace(data=str(data), out=out, seeds=list(seeds), oracle=oracle, folds=3, words=list(words))
    return list(plan(settings))


def test_each_seed_has_its_folder_and_words(photos, tmp_path):
    first, second = planned(photos, tmp_path / "out", "experiment=demo", "trainer.max_steps=3")
    assert [first.folder.name, second.folder.name] == ["seed0", "seed1"]
    assert first.words[:3] == ["data=folder", "experiment=demo", "trainer.max_steps=3"]
    own = {f"data.root={photos}", "seed=1", "name=seed1", f"output_dir={tmp_path / 'out' / 'seed1'}"}
    assert own <= set(second.words)


def test_words_after_the_seeds_are_words(photos, tmp_path):
    (one,) = planned(photos, tmp_path / "out", "b=2", seeds=("3", "a=1", "~loss.regularization"))
    assert {"seed=3", "a=1", "~loss.regularization", "b=2"} <= set(one.words)


def test_a_name_is_that_of_a_data_set_beside_the_project(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SHARED", tmp_path)
    assert f"data.root={photos}" in planned("photos", tmp_path / "out")[0].words
    with pytest.raises(SystemExit, match="need a folder of photos, found none at nope"):
        main(["run", "--data", "nope", "--out", str(tmp_path / "out")])


def test_true_masks_take_the_place_of_labels_and_of_their_settings():
    words = ["experiment=photos", "supervision=afa", "supervision.low=0.1", "supervision/refinement=none"]
    assert oracle_words([*words, "supervision.radius=4", "seed=3"]) == [
        "experiment=photos", "supervision.radius=4", "seed=3", "supervision=oracle"
    ]  # fmt: skip


def test_without_training_masks_the_oracle_trains_on_folds(photos, shapes, tmp_path):
    found = planned(photos, tmp_path / "out", oracle=True)
    assert [one.folder.name for one in found] == [f"seed{seed}_fold{fold}" for seed in (0, 1) for fold in range(3)]
    assert f"data.root={tmp_path / 'out' / 'folds' / 'fold2'}" in found[2].words
    assert "supervision=oracle" in found[0].words
    with_masks = planned(shapes, tmp_path / "shapes", oracle=True)
    assert [one.folder.name for one in with_masks] == ["seed0", "seed1"]
    assert with_masks[0].words[0] == "data=partshapes"


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["scores", "runs", "--nope"])
    assert "unknown arguments: --nope" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_are_trained_once_and_failures_are_a_line(shapes, tmp_path, capsys):
    """By the real command: seed 0 was done before, seed 1 trains; then it gets a word that there is not."""
    words = [word for word in small_run(shapes) if not word.startswith(("data.root=", "supervision.walk_first"))]
    done = tmp_path / "out" / "seed0"
    done.mkdir(parents=True)
    (done / "metrics.json").write_text(json.dumps({"val/miou": 12.0}))
    main(["run", "--data", str(shapes), "--out", str(tmp_path / "out"), "--seeds", "0", "1", "--oracle",
          *words, "callbacks=none", "logger=none", "trainer.max_steps=2"])  # fmt: skip
    said = capsys.readouterr().out
    assert "seed0: done before" in said
    assert "seed1: done in 0 min" in said
    assert "| branch | " in said
    assert list(done.iterdir()) == [done / "metrics.json"]

    shutil.rmtree(tmp_path / "out" / "seed1")
    with pytest.raises(SystemExit) as stop:
        main(["run", "--data", str(shapes), "--out", str(tmp_path / "out"), "--seeds", "1", "0", "trainer.nope=1"])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "seed1: failed with status 1: " in said
    assert "did you mean" in said or "need a setting that exists" in said
    assert "seed0: done before" in said
    assert "| branch | 12.0 |" in said


def test_a_run_is_done_where_it_was_scored(tmp_path):
    assert not Planned(tmp_path, []).is_done()
    (tmp_path / "metrics.json").touch()
    assert Planned(tmp_path, []).is_done()
