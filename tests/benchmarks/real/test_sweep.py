"""The sweep finds at each background score what validation finds there."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks.real.__main__ import main
from benchmarks.real.held_out import open_photos
from benchmarks.real.sweep import Study, sweep
from benchmarks.real.sweep_tables import around, batched, nearest
from tests.benchmarks.real.folders import write_photos
from tests.commands import trained_run

from afa_wsss.data.loading.held_out import chosen, held_out
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.errors import UserError
from afa_wsss.supervision import AFALabels

STAGES = {"cam": "cam", "cam_par": "cam_par", "walk": "walk", "walk+par": "pseudo_label"}
"""Stages of the sweep, and their names in validation."""


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """A run that validates at background scores of 0.4, and 0.6 after the walk."""
    words = ["supervision.background=0.4", "supervision.walk_background=0.6"]
    return trained_run(root, tmp_path_factory.mktemp("runs") / "trained", *words)


def swept(trained, root, file, *words):
    checkpoint = trained / "checkpoints" / "last.ckpt"
    main(["sweep", "--checkpoint", str(checkpoint), "--root", str(root), "--json", str(file), *words])
    return json.loads(file.read_text())


def test_scores_are_those_of_validation(trained, root, tmp_path, capsys):
    metrics = json.loads((trained / "metrics.json").read_text())
    found = swept(trained, root, tmp_path / "found.json", "--scores", "0.1", "0.4", "0.6")
    assert found["photos"] == 5
    for name, stage in STAGES.items():
        place = 1 if stage.startswith("cam") else 2
        assert found["stages"][name]["miou"][place] == pytest.approx(metrics[f"val/{stage}_miou"], abs=0.01), stage
    said = capsys.readouterr().out
    assert "mIoU of 5 photos, %" in said
    assert "walk+par: pairs, %" in said
    best = max(found["stages"]["cam"]["miou"])
    assert found["stages"]["cam"]["best_miou"] == best
    assert [(pair["low"], pair["high"]) for pair in found["stages"]["cam"]["pairs"]] == [
        (0.1, 0.4), (0.1, 0.6), (0.4, 0.6)
    ]  # fmt: skip


def test_every_walk_that_is_asked_for_has_its_columns(trained, root, tmp_path):
    words = ["--scores", "0.2", "0.5", "--limit", "2", "--scales", "1", "--stages", "walk", "walk_par"]
    found = swept(trained, root, tmp_path / "a.json", *words, "--alpha", "2", "8", "--radius", "0", "2")
    assert found["photos"] == 2
    names = [f"walk alpha={alpha} radius={radius}" for alpha in (2.0, 8.0) for radius in (None, 2)]
    assert list(found["stages"]) == [name + end for name in names for end in ("", "+par")]
    one = swept(trained, root, tmp_path / "b.json", *words, "--alpha", "8", "--radius", "2")
    assert one["stages"]["walk"]["miou"] == found["stages"]["walk alpha=8.0 radius=2"]["miou"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scores", "1.5"], "need background scores between 0 and 1, got 1.5"),
        (["--pairs", "0.1"], "need --pairs low high low high ..., got 1 numbers"),
        (["--limit", "0"], "need --limit of at least 1, got 0"),
        (["--checkpoint", "/nope.ckpt"], "need a checkpoint, found none at /nope.ckpt"),
    ],
)
def test_mistakes_are_one_line(words, message):
    with pytest.raises(SystemExit, match=message):
        main(["sweep", "--checkpoint", "none.ckpt", *words])


class NotAsked:
    """A network that fails when it is asked for anything."""

    num_classes = 2

    def activate(self, *_, **__):
        raise AssertionError("the network must not be asked")

    view = segment = forward_activates = grid = activate


def test_photos_without_any_class_need_no_network(tmp_path):
    """They are background at every score; counted beside the mask, which is background but for its unknown row."""
    root = write_photos(tmp_path / "photos", train=0, val=5)
    (negative,) = [photo for photo in held_out(EvalSet(open_photos(root, "val"))) if not photo.batch.image_labels.any()]
    study = Study(AFALabels(), {"walk": AFALabels()}, (0.2, 0.5), ("cam", "walk", "walk_par"))
    found = sweep(NotAsked(), study, iter([negative]))
    assert list(found) == ["cam", "walk", "walk+par"]
    pixels = int((negative.target != 255).sum())
    for counts in found.values():
        assert counts.sum(dim=(1, 2)).tolist() == [pixels, pixels]
        assert counts[:, 0, 0].tolist() == [pixels, pixels]


def test_a_held_out_photo_without_a_mask_is_refused(tmp_path):
    root = write_photos(tmp_path / "photos")
    assert [photo.batch.names for photo in held_out(EvalSet(open_photos(root, "val")), 2)] == [("p06",), ("p12",)]
    with pytest.raises(UserError, match="need a mask of every held-out photo, p00 has none"):
        list(held_out(EvalSet(open_photos(root, "train"))))


def test_photos_are_chosen_evenly():
    assert chosen(5, None) == chosen(5, 9) == [0, 1, 2, 3, 4]
    assert chosen(100, 3) == [0, 50, 99]


def test_pairs_lie_around_the_best_and_stay_on_the_grid():
    scores = (0.1, 0.2, 0.3, 0.4, 0.5)
    assert around(scores, 2) == [0.2, 0.4, 0.1, 0.5, 0.1, 0.5]
    assert nearest(scores, 0.26) == 2


def test_many_stages_are_shown_in_tables_that_fit():
    stages = [(f"walk {index}", torch.zeros(1)) for index in range(8)]
    assert [[name for name, _ in group] for group in batched(stages, 6)] == [
        [f"walk {index}" for index in range(6)], ["walk 6", "walk 7"]
    ]  # fmt: skip
