"""The paper's recipes hold every constant of the method, and docs/method.md tells of nothing that is not there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from tests.commands import composed, settings_of_run

from afa_wsss.losses import DenseEnergyLoss
from afa_wsss.losses.affinity import affinity_loss
from afa_wsss.models import create_model
from afa_wsss.models.encoders.encoder import READ_BLOCKS
from afa_wsss.models.encoders.mix_transformer import MIX_TRANSFORMERS
from afa_wsss.ops.affinity import affinity_labels
from afa_wsss.ops.dense_crf import dense_crf
from afa_wsss.ops.image import IMAGENET_MEAN, IMAGENET_STD
from afa_wsss.ops.random_walk import ROW_SUM_FLOOR, propagate, transition_matrix
from afa_wsss.training.optim import afa_optimizer, warmup_poly

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "method.md").read_text(encoding="utf-8")

BOTH = {
    "model.backbone": "mit_b1",
    "model.pooling": "max",
    "model.strides": None,  # the backbone's own: see below
    "model.decoder_width": 256,
    "model.dropout": 0.1,
    "model.sharpness": 1.0,
    "model.cam_in_training_mode": False,
    "data.total_batch": None,
    "data.max_negatives": None,
    "model.gradient_checkpointing": False,
    "optimizer.freeze_backbone": False,
    "optimizer.freeze_layers": 0,
    "optimizer.layer_decay": 1.0,
    "optimizer.eight_bit": False,
    "data.crop_size": 512,
    "data.scale": [0.5, 2.0],
    "data.mirror": 0.5,
    "data.jitter": 0.0,
    "data.batch_size": 8,
    "data.max_side": None,
    "supervision.low": 0.35,
    "supervision.high": 0.55,
    "supervision.background": 0.45,
    "supervision.auto_from": "photos",  # read where a score is auto, which none is
    "supervision.walk_low": None,
    "supervision.walk_high": None,
    "supervision.walk_background": None,
    "supervision.radius": 8,
    "supervision.walk_radius": None,
    "supervision.alpha": 2.0,
    "supervision.walk_when": "always",
    "supervision.walk_steps": 1,
    "supervision.truncate_photos": False,
    "supervision.cam_scales": [1.0, 0.5, 1.5],
    "supervision.refinement.dilations": [1, 2, 4, 8, 12, 24],
    "supervision.refinement.w1": 0.3,
    "supervision.refinement.w2": 0.3,
    "supervision.refinement.w3": 0.01,
    "loss.classification.weight": 1.0,
    "loss.segmentation.weight": 0.1,
    "loss.affinity.weight": 0.1,
    "loss.regularization.weight": 0.01 * 1e-7,
    "loss.regularization.gated_gradient": False,
    "optimizer.lr": 6e-5,
    "optimizer.head_lr_factor": 10.0,
    "optimizer.norm_lr_factor": 0.0,
    "optimizer.logits_lr_factor": 1.0,
    "optimizer.weight_decay": 0.01,
    "optimizer.betas": [0.9, 0.999],
    "scheduler.warmup_steps": 1500,
    "scheduler.warmup_lr": 1e-6,
    "scheduler.power": 1.0,
    "inference.cam_scales": [1.0, 0.5, 1.5],
    "inference.scales": [0.5, 0.75, 1.0, 1.25, 1.5],
    "inference.mirror": True,
    "inference.refinement": "crf",
    "inference.gate": None,
}
"""Of section 2 of the paper's method, by setting."""

OF_EACH = {
    "voc12_mit_b1": {
        "trainer.max_steps": 20000,
        "scheduler.max_steps": 20000,
        "supervision.first_step": 2001,
        "supervision.walk_first_step": 6001,
        "supervision.affinity_from_walk": False,
        "supervision.refinement.steps": 10,
    },
    "coco14_mit_b1": {
        "trainer.max_steps": 80000,
        "scheduler.max_steps": 80000,
        "supervision.first_step": 5001,
        "supervision.walk_first_step": 15001,
        "supervision.affinity_from_walk": True,
        "supervision.refinement.steps": 15,
    },
}

OFFICIAL = {
    "loss.regularization.gated_gradient": True,
    "loss.affinity.reduction": "process",
    "loss.segmentation.reduction": "process",
    "model.cam_in_training_mode": True,
    "data.batch_size": 4,
    "supervision.truncate_photos": True,
    "scheduler.warmup_lr": 6e-11,
}
"""What the official code does otherwise."""


def value(settings, name):
    for key in name.split("."):
        settings = settings[key]
    return settings


def flat(settings, prefix=""):
    found = {}
    for key, entry in settings.items():
        found |= flat(entry, f"{prefix}{key}.") if isinstance(entry, dict) else {f"{prefix}{key}": entry}
    return found


@pytest.fixture(scope="module")
def recipes():
    return {name: settings_of_run(f"experiment={name}") for name in (*OF_EACH, "voc12_official")}


@pytest.mark.parametrize("recipe", OF_EACH)
@pytest.mark.parametrize("name", BOTH)
def test_constants_of_both(recipes, recipe, name):
    assert value(recipes[recipe], name) == (pytest.approx(BOTH[name]) if isinstance(BOTH[name], float) else BOTH[name])


@pytest.mark.parametrize(("recipe", "name"), [(recipe, name) for recipe in OF_EACH for name in OF_EACH[recipe]])
def test_constants_of_each(recipes, recipe, name):
    assert value(recipes[recipe], name) == OF_EACH[recipe][name]


@pytest.mark.parametrize("recipe", OF_EACH)
def test_labels_and_the_losses_that_need_them_begin_together(recipe):
    losses = composed(f"experiment={recipe}").settings.loss
    assert set(losses) == {"classification", "segmentation", "affinity", "regularization"}
    begin = {name: term.first_step for name, term in losses.items()}
    assert begin.pop("classification") == 0
    assert set(begin.values()) == {OF_EACH[recipe]["supervision.first_step"]}


def test_every_setting_of_the_method_is_among_the_constants(recipes):
    """A new one has to be given its value here; what chooses weights, folders and machines is none of the method's."""
    groups = ("supervision", "optimizer", "scheduler", "inference", "model", "data")
    here = {name for name in flat(recipes["voc12_mit_b1"]) if name.split(".")[0] in groups}
    others = {
        "model.pretrained",
        "model.drop_path_rate",
        "data.eval_batch_size",
        "data.num_workers",
        "data.value_range",
    }
    others |= {
        name for name in here if re.match(r"inference\.par\.|data\.(name|root|dataset|\w+_split)|.*\._target_", name)
    }
    assert here - others == {name for name in {**BOTH, **OF_EACH["voc12_mit_b1"]} if name.split(".")[0] in groups}


def test_the_official_recipe_differs_in_its_choices_alone(recipes):
    paper, official = flat(recipes["voc12_mit_b1"]), flat(recipes["voc12_official"])
    differing = {name: official[name] for name in official if official[name] != paper[name]}
    assert differing.pop("name") == "voc12_official"
    assert differing == OFFICIAL


def test_constants_that_are_no_settings():
    backbone = MIX_TRANSFORMERS["mit_b1"]
    assert (backbone.strides, backbone.heads[-1] * READ_BLOCKS) == ((4, 2, 2, 1), 16)
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    assert ROW_SUM_FLOOR == 0.1
    energy = DenseEnergyLoss()
    assert (energy.scale, energy.sigma_rgb, energy.sigma_xy) == (0.5, 15.0, 100.0)
    crf = {name: given.default for name, given in inspect.signature(dense_crf).parameters.items()}
    wanted = {"steps": 10, "position_sigma": 3.0, "position_weight": 3.0}
    wanted |= {"bilateral_sigma_xy": 64.0, "bilateral_sigma_rgb": 5.0, "bilateral_weight": 4.0}
    assert {name: crf[name] for name in wanted} == wanted


@pytest.mark.parametrize("recipe", OF_EACH)
def test_rates_along_a_run(recipe):
    """From 1e-6 to nearly 6e-5, then down to 0, counted from the beginning; heads at ten times that, norms at 0."""
    settings = composed(f"experiment={recipe}").settings
    steps = settings.trainer.max_steps
    optimizer = afa_optimizer(create_model("mit_b0", 20), settings.optimizer)
    factor = warmup_poly(optimizer, settings.scheduler, max_steps=steps).lr_lambdas[0]
    rates = {group["name"]: group["initial_lr"] for group in optimizer.param_groups}
    assert rates["heads"] == pytest.approx(6e-4)
    assert rates["norms"] == 0
    backbone = {step: rates["backbone"] * factor(step) for step in (0, 1499, 1500, steps // 2, steps)}
    expected = [1e-6, 1e-6 + (6e-5 - 1e-6) * 1499 / 1500, 6e-5 * (1 - 1500 / steps), 3e-5, 0]
    assert list(backbone.values()) == pytest.approx(expected)


def test_the_pages_example_of_two_tokens():
    labels = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.uint8)
    exchanged = 1 - labels
    affinities = [torch.tensor([[[0.9, a], [a, 0.9]]]) for a in (0.8, 0.2)]
    right = [round(float(affinity_loss(affinity, labels)), 3) for affinity in affinities]
    printed = [round(float(affinity_loss(affinity, exchanged)), 3) for affinity in affinities]
    cat = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    received = [round(float(propagate(cat, transition_matrix(affinity))[..., 1]), 2) for affinity in affinities]
    assert (right, printed, received) == ([0.3, 0.1], [0.367, 0.567], [0.41, 0.04])
    told = [f"{number:.3f}" for number in (*right, *printed)] + [f"{number:.2f}" for number in received]
    assert all(number in PAGE for number in told)


def test_the_pages_rule_of_sampling():
    """Token (r, s) of 32 x 32 takes the label of pixel (16 r, 16 s) of 512 x 512."""
    label = torch.randint(0, 200, (1, 512, 512), dtype=torch.uint8)
    tokens = label[0, ::16, ::16].flatten()
    found = affinity_labels(label, grid=(32, 32), radius=32)[0]
    assert torch.equal(found, (tokens[:, None] == tokens).to(torch.uint8))


def test_the_page_names_settings_and_files_that_exist(recipes):
    known = set(flat(recipes["voc12_mit_b1"]))
    groups = {name.split(".")[0] for name in known}
    named = set(re.findall(r"`(\w+(?:\.\w+)+)(?:=[^`]*)?`", PAGE))
    settings = {name for name in named if name.split(".")[0] in groups}
    assert settings >= set(OFFICIAL)
    assert settings - {"data.root", "supervision.refinement"} <= known
    paths = re.findall(r"`((?:tests|models|ops|inference|losses|training|supervision|api|report)/[\w/]+\.py)`", PAGE)
    assert paths
    assert all((PROJECT / path).is_file() or (PROJECT / "src" / "afa_wsss" / path).is_file() for path in paths)


def test_the_pages_links_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE):
        file = link.partition("#")[0]
        assert (PROJECT / "docs" / file).is_file() if file else link.removeprefix("#") in anchors
