"""``model.pretrained`` and checkpoints of the official code in the real commands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.commands import composed, run_command, settings_of_run, small_run
from tests.hugging_face import hugging_face, save_published
from tests.layouts import FILES, random_weights
from tests.reference_network import reference_network, reference_weights
from transformers import SegformerForImageClassification, SegformerModel

from afa_wsss.cli import evaluate, predict, pseudo_label
from afa_wsss.cli import train as training
from afa_wsss.data.formats.classes import voc_palette
from afa_wsss.data.partshapes.write import write_partshapes
from afa_wsss.errors import UserError
from afa_wsss.models import build_model
from afa_wsss.models.encoders.create import create_encoder
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS
from afa_wsss.models.encoders.vision_transformer import is_timm_model
from afa_wsss.training.callbacks import Checkpoints


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Photos with their masks alone: read as VOC, whose first classes they show. Half a side is enough for MiT."""
    folder = write_partshapes(tmp_path_factory.mktemp("voc") / "VOC2012", train=2, val=3, size=64)
    (folder / "classes.json").unlink()
    shutil.rmtree(folder / "ImageSets" / "Main", ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """An official checkpoint of MiT-B0 and VOC's 20 classes."""
    path = tmp_path_factory.mktemp("official") / "AFA.pth"
    torch.save(reference_weights(), path)
    return path


def of_classes(count, folder):
    """The same with fewer classes."""
    weights = dict(reference_weights())
    weights["module.classifier.weight"] = weights["module.classifier.weight"][:count].clone()
    for leaf in ("weight", "bias"):
        name = f"module.decoder.linear_pred.{leaf}"
        weights[name] = weights[name][: count + 1].clone()
    torch.save(weights, folder / "few.pth")
    return folder / "few.pth"


def complaint(capfd, main, *words):
    """The one line that a command fails with."""
    assert run_command(main, *words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("experiment", ["voc12_mit_b1", "voc12_official", "coco14_mit_b1"])
def test_the_papers_recipes_start_from_imagenet(experiment):
    model = settings_of_run(f"experiment={experiment}")["model"]
    assert (model["backbone"], model["pretrained"]) == ("mit_b1", "default")
    assert create_encoder("mit_b1").default_weights == "hf-hub:nvidia/mit-b1"


@pytest.mark.parametrize("size", range(6))
def test_each_size_has_its_own_weights(size):
    model = settings_of_run("experiment=voc12_mit_b1", f"model=mit_b{size}")["model"]
    assert (model["backbone"], model["pretrained"]) == (f"mit_b{size}", "default")
    assert MIX_TRANSFORMERS[model["backbone"]].weights == f"hf-hub:nvidia/mit-b{size}"


TIMMS = {
    "deit_small": "deit_small_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "dinov2_small": "vit_small_patch14_dinov2",
    "dinov2_registers_small": "vit_small_patch14_reg4_dinov2",
    "dinov3_small": "vit_small_patch16_dinov3",
    "eva02_small": "eva02_small_patch14_224",
}


@pytest.mark.parametrize(("choice", "backbone"), TIMMS.items(), ids=TIMMS.keys())
def test_transformers_of_timm_are_one_word(choice, backbone):
    model = settings_of_run("experiment=voc12_mit_b1", f"model={choice}")["model"]
    assert (model["backbone"], model["pretrained"]) == (backbone, "default")
    assert is_timm_model(backbone)


def losses_of(folder):
    """What a run logged of its losses, by name."""
    with (folder / "logs" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name.startswith("train/") and name.endswith("loss")]
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


SIZES_TO_TRAIN = ("mit_b0", "mit_b1", "mit_b2")
"""The larger ones differ from B2 in depth alone, as ViT-B from ViT-S in width."""


@pytest.mark.slow
@pytest.mark.parametrize("choice", [*SIZES_TO_TRAIN, *(choice for choice in TIMMS if choice != "vit_base")])
def test_backbones_train(root, tmp_path, monkeypatch, choice):
    """Two steps from random weights; affinity and segmentation learn from the walk's labels in the second."""
    monkeypatch.setattr(Checkpoints, "save", lambda *_: None)  # up to a gigabyte, and nothing here reads it
    words = [*small_run(root), f"model={choice}", "model.pretrained=null", "trainer.max_steps=2", "callbacks=none"]
    words += ["supervision.first_step=0", "supervision.walk_first_step=1", "data.val_split=null"]
    assert run_command(training.main, *words, f"output_dir={tmp_path / 'run'}") == 0
    losses = losses_of(tmp_path / "run")
    assert {"train/classification_loss", "train/segmentation_loss", "train/affinity_loss"} <= set(losses)
    assert all(len(values) == 2 and np.isfinite(values).all() for values in losses.values())


FEATURES = ("tf_efficientnet_lite0", "convnext_atto", "resnet18", "swin_tiny_patch4_window7_224")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FEATURES)
def test_any_model_with_feature_maps_trains(root, tmp_path, monkeypatch, backbone):
    """Two steps from random weights, through all losses."""
    monkeypatch.setattr(Checkpoints, "save", lambda *_: None)
    words = [*small_run(root), f"model.backbone={backbone}", "trainer.max_steps=2", "callbacks=none"]
    words += ["supervision.first_step=0", "supervision.walk_first_step=1", "data.val_split=null"]
    assert run_command(training.main, *words, f"output_dir={tmp_path / 'run'}") == 0
    losses = losses_of(tmp_path / "run")
    assert {"train/classification_loss", "train/segmentation_loss", "train/affinity_loss"} <= set(losses)
    assert all(len(values) == 2 and np.isfinite(values).all() for values in losses.values())


@pytest.mark.parametrize("backbone", ["vit_tiny_r_s16_p8_224", "mixer_s32_224"])
def test_models_without_feature_maps_or_attention_end_the_command_with_one_line(capfd, root, tmp_path, backbone):
    words = [*small_run(root), f"model.backbone={backbone}", f"output_dir={tmp_path / 'run'}"]
    line = complaint(capfd, training.main, *words)
    assert line.startswith("error: model.backbone: need a ")
    assert backbone in line


@pytest.mark.parametrize("word", ["true", "default"])
def test_a_backbone_of_timm_asks_for_weights_of_its_own(capfd, hub_cache, root, tmp_path, word):
    words = [*small_run(root), "model.backbone=deit_small_patch16_224", f"output_dir={tmp_path / 'run'}"]
    line = complaint(capfd, training.main, *words, f"model.pretrained={word}")
    assert "need weights of hf-hub:timm/deit_small_patch16_224.fb_in1k, HF_HUB_OFFLINE is set" in line


def test_a_backbone_of_timm_goes_through_all_commands(root, tmp_path):
    words = [*small_run(root), "model.backbone=deit_tiny_patch16_224", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words, "callbacks=none") == 0
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    words = [checkpoint, "trainer.accelerator=cpu", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *words) == 0
    assert len(list((tmp_path / "scored" / "masks").iterdir())) == 5


def test_without_a_network_a_recipe_says_what_to_do(capfd, hub_cache, voc, tmp_path):
    words = ["experiment=voc12_mit_b1", f"data.root={voc}", "data.train_split=train", "trainer.accelerator=cpu"]
    line = complaint(capfd, training.main, *words, f"output_dir={tmp_path / 'run'}")
    assert line.startswith("error: model.pretrained: need weights of hf-hub:nvidia/mit-b1, HF_HUB_OFFLINE is set and ")
    assert str(hub_cache) in line
    assert "/nvidia/mit-b1/resolve/main/pytorch_model.bin where there is a network" in line


def test_random_weights_are_asked_for_and_announced(capfd, root, tmp_path):
    words = [*small_run(root), "trainer.max_steps=1", "callbacks=none", "data.val_split=null"]
    assert run_command(training.main, *words, f"output_dir={tmp_path / 'run'}") == 0
    assert "model.pretrained is null: the backbone starts from random weights" in capfd.readouterr().out
    first = tmp_path / "run" / "checkpoints" / "last.ckpt"
    # Another run may start from the backbone of this one, and prints what it took.
    more = [f"model.pretrained={first}", f"output_dir={tmp_path / 'other'}"]
    assert run_command(training.main, *words, *more) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "(layout: afa_wsss network)" in out
    assert "random weights" not in out


@pytest.mark.parametrize("layout", FILES)
def test_files_of_every_layout_start_a_run(capfd, root, tmp_path, layout):
    """The first step of a warm-up from 0 leaves the backbone as the file has it."""
    weights = random_weights(create_encoder("mit_b0"))
    torch.save(FILES[layout](weights), tmp_path / "weights.pth")
    words = [*small_run(root), "model=mit_b0", f"model.pretrained={tmp_path / 'weights.pth'}", "data.val_split=null"]
    words += ["trainer.max_steps=1", "scheduler.warmup_lr=0", "callbacks=none", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert f"(layout: {layout})" in " ".join(capfd.readouterr().out.split())
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(kept[f"network.encoder.{name}"], value) for name, value in weights.items())


@pytest.mark.parametrize("cls", [SegformerModel, SegformerForImageClassification])
def test_files_of_hugging_face_start_a_run(capfd, root, tmp_path, cls):
    path = save_published(hugging_face(cls, "mit_b0"), tmp_path, "safetensors")
    words = [*small_run(root), "model=mit_b0", f"model.pretrained={path}", "data.val_split=null", "callbacks=none"]
    assert run_command(training.main, *words, "trainer.max_steps=1", f"output_dir={tmp_path / 'run'}") == 0
    assert f"backbone from {path} (layout: Hugging Face Segformer" in " ".join(capfd.readouterr().out.split())


def test_files_of_timm_start_a_run(capfd, root, tmp_path):
    path, name = tmp_path / "deit.safetensors", "deit_tiny_patch16_224"
    save_file(timm.create_model(name).state_dict(), path)
    words = [*small_run(root), f"model.backbone={name}", f"model.pretrained={path}", "data.val_split=null"]
    words += ["trainer.max_steps=1", "callbacks=none", f"output_dir={tmp_path / 'run'}"]
    assert run_command(training.main, *words) == 0
    assert f"backbone from {path} (layout: timm)" in " ".join(capfd.readouterr().out.split())


def test_pickles_that_run_code_end_the_command_with_the_way_to_convert_them(capfd, root, tmp_path):
    path = tmp_path / "weights.pth"
    weights = {"stages.0.norm.weight": torch.ones(3)}
    torch.save({"model": weights, "args": Path("x")}, path)
    words = [*small_run(root), f"model.pretrained={path}", f"output_dir={tmp_path / 'run'}"]
    line = complaint(capfd, training.main, *words)
    assert line.startswith(f"error: model.pretrained: need a file of plain tensors, {path} is a pickle that would run ")
    convert = line.partition("convert it: ")[2]
    exec(convert.replace("'weights.pth'", repr(str(tmp_path / "converted.pth"))))
    assert torch.equal(torch.load(tmp_path / "converted.pth", weights_only=True)["stages.0.norm.weight"], torch.ones(3))


def test_a_run_goes_on_without_the_weights_that_it_began_with(hub_cache, root, tmp_path):
    words = [*small_run(root), "callbacks=none", "data.val_split=null"]
    assert run_command(training.main, *words, "trainer.max_steps=1", f"output_dir={tmp_path / 'run'}") == 0
    more = [f"resume={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}", "model.pretrained=hf-hub:nvidia/mit-b0"]
    assert run_command(training.main, *words, *more, "trainer.max_steps=2", f"output_dir={tmp_path / 'on'}") == 0


def test_an_official_checkpoint_is_loaded_whole(official):
    settings = composed("experiment=voc12_mit_b1", "model=mit_b0", f"model.pretrained={official}").settings
    network = build_model(settings.model, 20)
    wanted = reference_network().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("words", "classes", "message"),
    [
        (["model=mit_b0"], 5, "need an official AFA checkpoint of the data's 5 classes, .* has 20; use other data"),
        (["model=mit_b1"], 20, r"\(layout: official AFA checkpoint, mit_b0\) does not: .* of another shape"),
    ],
)
def test_official_checkpoints_that_do_not_fit_are_refused(official, words, classes, message):
    settings = composed("experiment=voc12_mit_b1", *words, f"model.pretrained={official}").settings
    with pytest.raises(UserError, match=message):
        build_model(settings.model, classes)


def test_training_goes_on_from_an_official_checkpoint(capfd, root, tmp_path):
    path = of_classes(5, tmp_path)
    words = [*small_run(root), "model=mit_b0", f"model.pretrained={path}", "trainer.max_steps=2", "callbacks=none"]
    assert run_command(training.main, *words, "data.val_split=null", f"output_dir={tmp_path / 'run'}") == 0
    assert f"backbone and heads from {path} (layout: official AFA checkpoint)" in capfd.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_an_official_checkpoint_is_evaluated(official, voc, tmp_path):
    words = [f"checkpoint={official}", f"data.root={voc}", "data.num_workers=0", "trainer.accelerator=cpu"]
    words += ["inference.cam_scales=[1.0]", "pictures=1", f"output_dir={tmp_path / 'scored'}"]
    assert run_command(evaluate.main, *words) == 0
    scores = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert {"val/miou", "val/cam_miou", "val/walk_miou", "val/iou/aeroplane"} <= set(scores)
    assert len(list((tmp_path / "scored" / "masks").iterdir())) == 3


def test_pseudo_labels_from_an_official_checkpoint(official, voc, tmp_path):
    words = [f"checkpoint={official}", f"data.root={voc}", "data.num_workers=0", "trainer.accelerator=cpu"]
    words += ["inference.cam_scales=[1.0]", "pictures=0", f"output_dir={tmp_path / 'labels'}"]
    assert run_command(pseudo_label.main, *words) == 0
    assert len(list((tmp_path / "labels" / "pseudo_labels").iterdir())) == 3


def test_photos_are_labeled_by_an_official_checkpoint(official, voc, tmp_path):
    photo = next((voc / "JPEGImages").glob("val_*"))
    words = [f"checkpoint={official}", f"input={photo}", "device=cpu", f"output_dir={tmp_path / 'out'}"]
    assert run_command(predict.main, *words) == 0
    with Image.open(tmp_path / "out" / "masks" / f"{photo.stem}.png") as mask:
        assert mask.getpalette()[:63] == voc_palette(21).ravel().tolist()
        assert np.asarray(mask).max() <= 20


def test_an_official_checkpoint_needs_data(capfd, official, tmp_path):
    line = complaint(capfd, evaluate.main, f"checkpoint={official}", f"output_dir={tmp_path / 'scored'}")
    assert "data.root: need the folder of the data, the checkpoint names none" in line


def test_an_official_checkpoint_of_other_classes_has_no_recipe(capfd, root, tmp_path):
    words = [f"checkpoint={of_classes(5, tmp_path)}", f"data.root={root}", f"output_dir={tmp_path / 'scored'}"]
    assert "need an official AFA checkpoint of 20 classes (VOC) or 80 (COCO)" in complaint(capfd, evaluate.main, *words)
