"""The front door: ``afa_wsss.load``, ``Segmenter``, and what the commands do from Python."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.commands import small_run
from tests.reference_network import reference_weights

import afa_wsss
from afa_wsss.api.device import find_device
from afa_wsss.data.files.photos import read_photo
from afa_wsss.errors import UserError
from afa_wsss.inference import InferenceSettings


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return afa_wsss.train(*small_run(root), "callbacks=none", f"output_dir={folder}")


@pytest.fixture(scope="module")
def segmenter(run):
    return afa_wsss.load(run.folder / "checkpoints" / "last.ckpt", device="cpu")


@pytest.fixture(scope="module")
def photo(root):
    return next(iter(sorted((root / "JPEGImages").glob("val_*"))))


def test_importing_the_package_needs_neither_torch_nor_much_time():
    code = "import sys, afa_wsss; print([name for name in ('torch', 'lightning', 'hydra') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert {"load", "Segmenter", "train", "evaluate", "predict", "pseudo_label"} <= set(dir(afa_wsss))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = afa_wsss.nothing


def test_training_returns_scores_folder_and_network(run, root, photo):
    assert run.metrics["val/miou"] == pytest.approx(json.loads((run.folder / "metrics.json").read_text())["val/miou"])
    assert (run.folder / "report.html").is_file()
    loaded = afa_wsss.load(run.folder / "checkpoints" / "last.ckpt", device="cpu").predict(photo)
    assert np.array_equal(run.segmenter.predict(photo).labels, loaded.labels)


def test_a_run_that_a_callback_ends_early_says_so(root, tmp_path):
    early = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/miou", "mode": "max"}
    words = [f"callbacks.early.{name}={value}" for name, value in {**early, "stopping_threshold": -1}.items()]
    run = afa_wsss.train(
        *small_run(root), "callbacks=none", *words, "trainer.val_check_interval=2", f"output_dir={tmp_path}"
    )
    assert "2 of 4: training ended early" in (run.folder / "report.html").read_text()


def test_a_segmenter_labels_photos_in_every_form(segmenter, photo, tmp_path):
    pixels = read_photo(photo)
    forms = [photo, str(photo), Image.open(photo), pixels]
    found = segmenter.predict(forms)
    assert isinstance(found, list)
    assert all(np.array_equal(one.labels, found[0].labels) for one in found)
    first = segmenter.predict(photo, scores=True)
    assert first.labels.dtype == np.uint8
    assert first.scores.shape == (len(segmenter.class_names) + 1, *pixels.shape[:2])
    assert first.scores.dtype == np.float32
    assert np.array_equal(first.scores.argmax(axis=0), first.labels)
    np.testing.assert_allclose(first.scores.sum(axis=0), 1, atol=1e-5)
    assert found[0].scores is None
    assert set(first.classes) == set(first.areas) <= set(segmenter.class_names)
    for name, share in first.areas.items():
        assert share == pytest.approx((first.labels == segmenter.class_names.index(name) + 1).mean())
    first.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), first.labels)
        assert mask.getpalette()[: segmenter.palette.size] == segmenter.palette.ravel().tolist()
    assert first.overlay().size == (pixels.shape[1], pixels.shape[0])


@pytest.mark.parametrize("refinement", ["par", "crf"])
def test_a_refinement_is_applied_where_it_is_asked_for(segmenter, photo, refinement):
    plain, refined = (segmenter.predict(photo, refinement=word, scores=True) for word in ("none", refinement))
    assert not np.array_equal(plain.scores, refined.scores)
    assert refined.scores.shape == plain.scores.shape
    np.testing.assert_allclose(refined.scores.sum(axis=0), 1, atol=1e-4)
    assert np.array_equal(refined.scores.argmax(axis=0), refined.labels)


def test_the_gate_of_a_checkpoint(run, segmenter, photo):
    assert segmenter.gate.found == run.segmenter.gate.found
    assert set(segmenter.gate.found) <= set(segmenter.class_names)
    closed = afa_wsss.Segmenter(
        segmenter.network, segmenter.class_names, segmenter.palette, inference=InferenceSettings(gate=0.999)
    )
    assert not closed.predict(photo).labels.any()
    assert closed.predict(photo, scores=True).scores[0].min() == 1


def test_crf_is_an_older_word_for_a_refinement(segmenter, photo):
    for old, new in ((True, "crf"), (False, "none")):
        first, second = segmenter.predict(photo, crf=old), segmenter.predict(photo, refinement=new)
        assert np.array_equal(first.labels, second.labels)
    with pytest.raises(UserError, match="need refinement alone, got 'par' and crf=True; leave out crf") as raised:
        segmenter.predict(photo, crf=True, refinement="par")
    assert raised.value.arguments == ("crf", "refinement")
    with pytest.raises(UserError, match="need a refinement of none, par, crf; got blur"):
        segmenter.predict(photo, refinement="blur")


def test_maps_stages_and_pseudo_labels_of_known_classes(segmenter, photo):
    height, width = read_photo(photo).shape[:2]
    one, two = segmenter.class_names[:2]
    cam = segmenter.cam(photo, classes=[two])
    assert (cam.shape, cam.dtype) == ((1, height, width), np.float32)
    assert 0 <= cam.min() <= cam.max() <= 1
    np.testing.assert_allclose(segmenter.cam(photo)[1], cam[0], atol=1e-6)
    assert not segmenter.pseudo_label(photo, classes=[]).any(), "a negative is all background"
    label = segmenter.pseudo_label(photo, classes=[one])
    assert (label.shape, label.dtype) == ((height, width), np.uint8)
    assert set(np.unique(label)) <= {0, 1, 255}
    stages = segmenter.stages(photo, [one])
    assert list(stages) == ["cam", "cam_par", "walk", "pseudo_label"]
    assert all(set(np.unique(labels)) <= {0, 1} for labels in stages.values())
    affinity = segmenter.affinity(photo, (3, 4))
    assert affinity.shape == segmenter.network.grid(height, width)
    assert 0 < affinity.min() <= affinity.max() < 1


MISTAKES = {
    "class": (lambda s, photo: s.cam(photo, classes=["unicorn"]), "got unicorn", ("classes",)),
    "one name": (lambda s, photo: s.cam(photo, classes="cat"), "need a list of classes of .*; got 'cat'", ("classes",)),
    "no photo": (lambda s, _: s.predict(3), "need a path, a PIL image, or uint8 values", ("photo",)),
    "floats": (lambda s, _: s.predict(np.zeros((4, 4, 3))), "got float64 of ", ("photo",)),
    "device": (lambda *_: find_device("abacus"), "need a device of auto, cpu, cuda", ("device",)),
    "point": (lambda s, photo: s.affinity(photo, (0, 999)), "need a point inside", ("point",)),
}


@pytest.mark.parametrize(("act", "message", "arguments"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_name_their_argument(segmenter, photo, act, message, arguments):
    with pytest.raises(UserError, match=message) as raised:
        act(segmenter, photo)
    assert raised.value.arguments == arguments


@pytest.mark.parametrize(
    ("content", "message"), [(None, "found none at"), (b"text", "cannot be read"), ({"a": 1}, "holds no configuration")]
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "a.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message):
        afa_wsss.load(path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("model", "need a subclass of afa_wsss.models.Encoder"),
        ("supervision", "need a subclass of afa_wsss.supervision"),
        ("data", "need a data set"),
    ],
)
def test_a_checkpoint_never_calls_what_is_no_part(run, tmp_path, monkeypatch, photo, where, message):
    target = {"_target_": "subprocess.Popen", "args": ["touch", "RAN"]}
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    config = state["config"]
    if where == "supervision":
        config["supervision"] = target
    else:
        config[where][{"model": "backbone", "data": "dataset"}[where]] = target
    torch.save(state, tmp_path / "evil.ckpt")
    monkeypatch.chdir(tmp_path)

    def use():
        found = afa_wsss.load("evil.ckpt", device="cpu")
        found.pseudo_label(photo, classes=found.class_names[:1])
        afa_wsss.evaluate("checkpoint=evil.ckpt", "output_dir=scored")

    with pytest.raises(UserError, match=message):
        use()
    assert not (tmp_path / "RAN").exists()


def test_checkpoints_of_the_first_version_are_read(run, tmp_path, photo):
    """Version 0.1.0 stored PAR beside the thresholds, CAM scales with inference alone, and longer paths of classes."""
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    supervision = dict(state["config"]["supervision"])
    refinement = dict(supervision.pop("refinement"))
    for values in (supervision, refinement):
        values.pop("_target_")
    supervision.pop("cam_scales")
    state["config"]["supervision"] = supervision | {"par": refinement}
    state["config"]["inference"] = {
        name: state["config"]["inference"][name] for name in ("cam_scales", "scales", "mirror")
    }
    state["config"]["inference"]["crf"] = True
    state["config"]["data"]["dataset"] = {"_target_": "afa_wsss.data.voc.VOCDataset", "difficult": None}
    torch.save(state, tmp_path / "old.ckpt")
    paths = (tmp_path / "old.ckpt", run.folder / "checkpoints" / "last.ckpt")
    old, new = (afa_wsss.load(path, device="cpu") for path in paths)
    assert old.label_maker == new.label_maker
    assert (old.inference.refinement, new.inference.refinement) == ("crf", "par")
    assert np.array_equal(old.predict(photo).labels, new.predict(photo, crf=True).labels)
    scores = afa_wsss.evaluate(f"checkpoint={tmp_path / 'old.ckpt'}", f"output_dir={tmp_path / 'scored'}", "pictures=0")
    assert scores.metrics["val/pseudo_label_miou"] == pytest.approx(run.metrics["val/pseudo_label_miou"], abs=1e-4)


def test_an_official_checkpoint_is_loaded_with_vocs_classes(tmp_path, photo):
    torch.save(reference_weights(), tmp_path / "AFA.pth")
    found = afa_wsss.load(tmp_path / "AFA.pth", device="cpu")
    assert (len(found.class_names), found.class_names[0]) == (20, "aeroplane")
    assert found.inference.refinement == "crf"
    assert found.label_maker.refinement.steps == 10


def test_the_commands_from_python(run, root, photo, tmp_path):
    checkpoint = f"checkpoint={run.folder / 'checkpoints' / 'last.ckpt'}"
    scored = afa_wsss.evaluate(checkpoint, f"output_dir={tmp_path / 'scored'}", "pictures=1")
    assert scored.metrics["val/miou"] == pytest.approx(run.metrics["val/miou"], abs=1e-4)
    assert scored.stages == ("cam", "cam_par", "walk", "pseudo_label", "segmentation", "par")
    assert len(list((scored.folder / "masks").iterdir())) == 5
    labeled = afa_wsss.pseudo_label(checkpoint, f"output_dir={tmp_path / 'labels'}", "pictures=0")
    assert len(list((labeled.folder / "pseudo_labels").iterdir())) == 5
    predicted = afa_wsss.predict(checkpoint, f"input={photo}", f"output_dir={tmp_path / 'predicted'}", "device=cpu")
    assert (predicted.photos, predicted.failed) == (1, [])
    assert (predicted.masks / f"{photo.stem}.png").is_file()


def test_mistakes_in_words_are_user_errors(root):
    with pytest.raises(UserError, match=r"got trainer\.max_step; did you mean max_steps\?"):
        afa_wsss.train(*small_run(root), "trainer.max_step=3")
    with pytest.raises(UserError, match=r"supervision\.low, supervision\.high: need 0 <= low < high <= 1"):
        afa_wsss.train(*small_run(root), "supervision.low=0.9")
    with pytest.raises(UserError, match="checkpoint: need a checkpoint, found none"):
        afa_wsss.evaluate("checkpoint=nope.ckpt")
