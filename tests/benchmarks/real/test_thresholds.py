"""What ``auto`` finds beside the best background scores: the curves are those of the sweep."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks.real.__main__ import main
from benchmarks.real.held_out import open_photos
from benchmarks.real.thresholds import Found, loss_of, random_crops, table
from tests.commands import trained_run

from afa_wsss.api.checkpoints import read_checkpoint
from afa_wsss.data.loading.sets import EvalSet
from afa_wsss.supervision.found_thresholds import KINDS, FoundThresholds, Look
from afa_wsss.supervision.score_curves import CANDIDATES


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    folder = trained_run(root, tmp_path_factory.mktemp("runs") / "trained")
    return str(folder / "checkpoints" / "last.ckpt")


def test_the_command_prints_and_draws_the_curves(checkpoint, root, tmp_path, capsys):
    words = ["--checkpoint", checkpoint, "--root", str(root)]
    main(["thresholds", *words, "--chart", str(tmp_path / "chart.png")])
    said = " ".join(capsys.readouterr().out.split())
    assert "CAM + PAR: auto takes" in said
    assert "walk + PAR: auto takes" in said
    assert (tmp_path / "chart.png").stat().st_size > 5_000
    main(["sweep", *words, "--scores", "0.1", "0.5", "--json", str(tmp_path / "found.json"), "--stages", "cam_par"])
    swept = json.loads((tmp_path / "found.json").read_text())["stages"]["cam_par"]["miou"]
    assert all(f"{miou:.1f}" in said for miou in swept)


def test_crops_are_cut_as_in_training(checkpoint, root, capsys):
    main(["thresholds", "--checkpoint", checkpoint, "--root", str(root), "--crops", "7"])  # five photos are held out
    assert "CAM + PAR: auto takes" in capsys.readouterr().out
    stored = read_checkpoint(checkpoint)
    photos = EvalSet(open_photos(root, "val"))
    crops = list(random_crops(photos, stored.settings().data, 7))
    assert [crop.batch.names for crop in crops[:2]] == [crop.batch.names for crop in crops[5:]]
    assert not torch.equal(crops[0].batch.images, crops[5].batch.images)
    side = stored.settings().data.crop_size
    assert all(crop.target.shape == crop.batch.images.shape[-2:] == (side, side) for crop in crops)


def test_what_is_lost_is_read_from_the_curve_between_candidates():
    miou, memory = torch.tensor(CANDIDATES) * 100, FoundThresholds()
    shares = (1 - torch.tensor(CANDIDATES)).expand(2, -1)
    splits = torch.zeros(2, len(CANDIDATES))
    splits[:, CANDIDATES.index(0.5)] = 1
    look = Look(splits, shares)
    memory.update(look, look._replace(shares=shares * 0.9))
    found = Found(dict.fromkeys(KINDS, miou), dict.fromkeys(KINDS, splits[0]), memory)
    assert loss_of(found, "cam", found.memory) == pytest.approx((0.5, 50, 95))
    score, taken, _ = loss_of(found, "walk", found.memory)
    assert score == pytest.approx(1 - 0.5 / 0.9, abs=1e-3)
    assert taken == pytest.approx(100 * score, abs=0.1)
    caption = table(found._replace(learned=memory)).caption
    assert "walk + PAR: auto takes" in caption
    assert caption.endswith(f"{found.memory.best[1]:.3f} after it: labels are from the CAM")
