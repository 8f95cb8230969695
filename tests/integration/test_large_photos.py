"""Photos above data.max_side: the network sees them small, masks and predictions come back at full size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.commands import run_command, small_run

import afa_wsss
from afa_wsss.cli import evaluate, predict, pseudo_label, train
from afa_wsss.data.files.masks import write_mask
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.models import AFA

SIZES = {"a": (120, 90), "b": (90, 120), "c": (40, 30)}
"""Width and height."""

SIDE = 48


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos above the limit and one below it, with a class of a bright square each, and their masks."""
    root = tmp_path_factory.mktemp("large")
    rows = ["file,labels,split"]
    for name, (width, height) in SIZES.items():
        picture, label = np.full((height, width, 3), 60, np.uint8), np.zeros((height, width), np.uint8)
        window = slice(height // 4, height // 2), slice(width // 3, 2 * width // 3)
        picture[window], label[window] = (220, 40, 40), 1
        Image.fromarray(picture).save(root / f"{name}.png")
        write_mask(root / "masks" / f"{name}.png", label, voc_palette(2))
        rows += [f"{name}.png,square,val"]
        Image.fromarray(picture[:, ::-1]).save(root / f"{name}_train.png")
        rows += [f"{name}_train.png,square,train"]
    (root / "labels.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def checkpoint(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [*small_run(photos), "data=folder", f"data.max_side={SIDE}", "callbacks=quiet", f"output_dir={folder}"]
    assert run_command(train.main, *words) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Sizes of all images that a network gets, at scale 1 or any other."""
    sizes = []
    for name in ("forward", "view", "activate", "segment"):
        original = getattr(AFA, name)

        def record(self, images, *arguments, _original=original, **settings):
            sizes.append(max(images.shape[-2:]))
            return _original(self, images, *arguments, **settings)

        monkeypatch.setattr(AFA, name, record)
    return sizes


def sizes_of(folder):
    found = {}
    for path in folder.iterdir():
        with Image.open(path) as picture:
            found[path.stem] = picture.size
    return found


def test_evaluation_scores_and_writes_masks_at_full_size(photos, checkpoint, tmp_path, seen):
    out = tmp_path / "out"
    words = [f"checkpoint={checkpoint}", "inference.refinement=none"]  # the score is that of the branch itself
    assert run_command(evaluate.main, *words, f"output_dir={out}") == 0
    assert sizes_of(out / "masks") == SIZES
    assert max(seen) <= 1.25 * SIDE
    hits = pixels = 0
    for name in SIZES:
        mask, target = (np.asarray(Image.open(folder / f"{name}.png")) for folder in (out / "masks", photos / "masks"))
        hits, pixels = hits + (mask == target).sum(), pixels + mask.size
    scores = json.loads((out / "metrics.json").read_text())
    assert scores["val/pixel_accuracy"] == pytest.approx(100 * hits / pixels, abs=1e-3)


def test_pseudo_labels_come_at_full_size(checkpoint, tmp_path, seen):
    out = tmp_path / "out"
    words = [f"checkpoint={checkpoint}", "score=true", f"output_dir={out}"]
    assert run_command(pseudo_label.main, *words) == 0
    assert sizes_of(out / "pseudo_labels") == SIZES
    assert max(seen) <= 1.25 * SIDE


def test_predictions_are_those_of_evaluation_at_full_size(photos, checkpoint, tmp_path, seen):
    out, scored = tmp_path / "out", tmp_path / "scored"
    for name in SIZES:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{name}.png").write_bytes((photos / f"{name}.png").read_bytes())
    words = [f"checkpoint={checkpoint}", "inference.refinement=crf"]
    assert run_command(predict.main, *words, f"input={tmp_path / 'photos'}", f"output_dir={out}") == 0
    assert run_command(evaluate.main, *words, f"output_dir={scored}") == 0
    assert sizes_of(out / "masks") == sizes_of(out / "overlays") == SIZES
    assert max(seen) <= 1.25 * SIDE
    for name in SIZES:
        first, second = (np.asarray(Image.open(folder / "masks" / f"{name}.png")) for folder in (out, scored))
        assert np.array_equal(first, second)


def test_the_longest_side_can_be_changed_for_a_checkpoint(photos, checkpoint, tmp_path, seen):
    words = [f"checkpoint={checkpoint}", "data.max_side=1000"]
    assert run_command(predict.main, *words, f"input={photos / 'a.png'}", f"output_dir={tmp_path / 'a'}") == 0
    assert max(seen) == 1.25 * 120
    seen.clear()
    assert run_command(evaluate.main, *words, f"output_dir={tmp_path / 'b'}") == 0
    assert max(seen) == 1.25 * 120
    assert yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())["data"]["max_side"] == 1000


def test_a_longest_side_out_of_range_is_named(photos, checkpoint, tmp_path, capfd):
    words = [f"checkpoint={checkpoint}", f"input={photos / 'a.png'}", "data.max_side=8", f"output_dir={tmp_path}"]
    assert run_command(predict.main, *words) == 1
    assert "data.max_side: need max_side of at least 32, got 8" in capfd.readouterr().err


def test_a_segmenter_gives_everything_at_full_size(photos, checkpoint, seen):
    segmenter = afa_wsss.load(checkpoint, device="cpu")
    assert segmenter.max_side == SIDE
    photo, size = photos / "a.png", SIZES["a"][::-1]
    found = segmenter.predict(photo, scores=True)
    assert found.labels.shape == found.photo.shape[:2] == size
    assert found.scores.shape == (2, *size)
    assert np.array_equal(found.labels, segmenter.predict(photo).labels)
    assert np.allclose(found.scores.sum(axis=0), 1, atol=1e-5)
    assert segmenter.predict(photo, crf=True, scores=True).scores.shape == (2, *size)
    assert segmenter.cam(photo).shape == (1, *size)
    assert segmenter.pseudo_label(photo, ["square"]).shape == size
    assert {labels.shape for labels in segmenter.stages(photo, ["square"]).values()} == {size}
    assert segmenter.affinity(photo, (89, 119)).shape == segmenter.network.grid(36, 48)
    assert max(seen) <= 1.25 * SIDE


def test_a_checkpoint_from_before_shrinks_nothing(photos, checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    del state["config"]["data"]["max_side"]
    torch.save(state, tmp_path / "old.ckpt")
    segmenter = afa_wsss.load(tmp_path / "old.ckpt", device="cpu")
    assert segmenter.max_side is None
    assert segmenter.predict(photos / "a.png").labels.shape == SIZES["a"][::-1]
