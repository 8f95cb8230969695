"""Operators, losses, network and training step: float32 beside bf16 autocast, and eager beside ``torch.compile``.

Tolerances are relative to the largest expected value. Most compiled tests use the backend "eager", which traces and
guards like any other and needs no compiler; a few go through inductor and its C++ compiler.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tests.precision import CASES, SIZES, image_labels
from tests.reference_network import reference_network
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from afa_wsss.inference import InferenceSettings
from afa_wsss.losses import AffinityLoss, ClassificationLoss, SegmentationLoss
from afa_wsss.models import AFA, ModelSettings
from afa_wsss.models.encoders.mix_transformer import MixTransformer, MixTransformerConfig
from afa_wsss.ops.affinity import TokenAffinity
from afa_wsss.supervision import PAR, AFALabels
from afa_wsss.supervision.par import PARRefiner
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings, afa_optimizer, warmup_poly
from afa_wsss.types import Batch

LOGITS, AFFINITY, GRADIENTS, LOSSES = 2e-2, 1e-1, 5e-2, 5e-3
"""Largest errors under bf16 autocast; gradients count as one vector."""

ROUNDING = 1e-5
"""Largest error of compiled float32, whose sums have another order."""

# Between two graphs dynamo reads .grad of tensors and triggers a warning about it.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def error(found, expected):
    """Largest difference, divided by the largest expected value."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def autocast(dtype=torch.bfloat16):
    return torch.autocast("cpu", dtype)


@pytest.fixture
def inductor(dynamo):
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("torch.compile needs a C++ compiler for the CPU, and there is none")
    return dynamo


def tiny_network(classes=3):
    """A small, deterministic network with every part: reduced keys, attention logits, decoder with batch norm."""
    config = MixTransformerConfig((8, 8, 16, 16), (1, 1, 1, 2), (1, 1, 2, 2), (4, 2, 1, 1), (2, 2, 1, 1), mlp_ratio=2)
    return AFA(MixTransformer(config, drop_path_rate=0.0), classes, ModelSettings(decoder_width=8, dropout=0.0))


def run(network, images, call=None):
    """The output, and the gradients of a loss that depends on every part of it."""
    network.zero_grad()
    output = (network if call is None else call)(images)
    sum(part.float().square().mean() for part in output[:3]).backward()
    return output, torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_operators_keep_their_values_under_autocast(name, dtype):
    case, size = CASES[name], SIZES[1]
    arguments = case.arguments(size)
    exact = case.run(*arguments)
    with autocast(dtype):
        found = case.run(*arguments)
    assert error(found, exact) <= case.tolerance
    assert case.tolerance or found.dtype == exact.dtype


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"labels_from_cam"}))  # labels_from_walk without the walk
def test_operators_trace_whole_and_once_for_all_sizes(name, dynamo, monkeypatch):
    """The second graph has dynamic sizes and classes, so that a third size needs no further graph."""
    # Dynamo cannot trace shape checks around methods of an object that the graph makes, even when they are off.
    for kind in (PARRefiner, TokenAffinity):
        for attribute, method in [*vars(kind).items()]:
            if hasattr(method, "__wrapped__"):
                monkeypatch.setattr(kind, attribute, method.__wrapped__)
    case = CASES[name]
    compiled = torch.compile(case.run, backend="eager", fullgraph=True)
    for size in SIZES:
        arguments = case.arguments(size)
        torch.testing.assert_close(compiled(*arguments), case.run(*arguments))
    assert dynamo["unique_graphs"] <= 2


@pytest.mark.parametrize("name", ["background_scores", "affinity_labels", "balanced_cross_entropy"])
def test_operators_keep_their_values_through_inductor(name, inductor):
    case = CASES[name]
    compiled = torch.compile(case.run, fullgraph=True, dynamic=True)
    for size in SIZES[:2]:
        arguments = case.arguments(size)
        assert error(compiled(*arguments), case.run(*arguments)) <= ROUNDING
    assert inductor["unique_graphs"] == 1


def test_the_network_under_autocast():
    network, images = tiny_network(), torch.randn(2, 3, 48, 64)
    exact, exact_gradients = run(network, images)
    with autocast():
        found, gradients = run(network, images)
    assert max(error(*pair) for pair in zip(found, exact, strict=True)) <= LOGITS
    assert float((gradients - exact_gradients).norm() / exact_gradients.norm()) <= GRADIENTS
    assert found.affinity.dtype == torch.float32


def test_the_golden_network_under_autocast(golden):
    """Attention logits are long sums without scaling, so the affinity has the largest error."""
    images = torch.from_numpy(golden("network_mit_b0")["image0"])
    with torch.no_grad():
        exact = reference_network()(images)
        with autocast():
            found = reference_network()(images)
    for name, tolerance in {"class_logits": LOGITS, "seg_logits": LOGITS, "cam": LOGITS, "affinity": AFFINITY}.items():
        assert error(getattr(found, name), getattr(exact, name)) <= tolerance


@pytest.mark.slow
def test_the_network_compiled(inductor):
    network, images = tiny_network(), torch.randn(2, 3, 48, 64)
    exact, exact_gradients = run(network, images)
    found, gradients = run(network, images, torch.compile(network, fullgraph=True, dynamic=False))
    assert max(error(*pair) for pair in zip(found, exact, strict=True)) <= ROUNDING
    assert float((gradients - exact_gradients).norm() / exact_gradients.norm()) <= ROUNDING


def test_one_graph_of_the_network_serves_all_sizes(dynamo):
    network = tiny_network().eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for height, width in ((48, 64), (64, 48), (49, 67), (57, 130)):
            compiled(torch.randn(2, 3, height, width))
    assert dynamo["unique_graphs"] == 1


STEP = 4
"""A step of the phase with walk, PAR and all losses."""


def training_module():
    label_maker = AFALabels(
        low=0.4,
        high=0.6,
        radius=2,
        first_step=2,
        walk_first_step=STEP,
        cam_scales=(1.0, 0.5),
        refinement=PAR(dilations=(1, 2), steps=2),
    )
    weighted = {"weight": 0.1, "first_step": 2}
    losses = {"segmentation": SegmentationLoss(**weighted), "affinity": AffinityLoss(**weighted)}
    return AFAModule(
        tiny_network(),
        label_maker,
        {"classification": ClassificationLoss(), **losses},
        lambda network, others: afa_optimizer(network, OptimizerSettings(), others=others),
        partial(warmup_poly, settings=SchedulerSettings(), max_steps=10),
        class_names=("cat", "dog", "sofa"),
        palette=np.zeros((4, 3), dtype=np.uint8),
        inference=InferenceSettings(),
    )


@pytest.fixture
def batch():
    """Crops of one size, as in a training run."""
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    return Batch(images, image_labels(SIZES[0]), torch.tensor([[0, 64, 0, 64], [4, 60, 8, 52]]), names=("a", "b"))


def training_step(module, batch):
    """Loss and gradients of one step, and its pseudo label."""
    found = []
    module.zero_grad()
    module.supervise = lambda *arguments: found.append(AFAModule.supervise(module, *arguments)) or found[-1]
    loss = module.training_step(batch, 0)
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in module.network.parameters()])
    return float(loss.detach()), gradients, found[0].pseudo_label


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(AFAModule, "global_step", STEP)
    monkeypatch.setattr(AFAModule, "log", lambda *_, **__: None)
    monkeypatch.setattr(AFAModule, "log_dict", lambda *_, **__: None)
    return training_module()


def test_a_training_step_under_autocast(module, batch):
    loss, gradients, labels = training_step(module, batch)
    with autocast():
        found, found_gradients, found_labels = training_step(module, batch)
    assert found == pytest.approx(loss, rel=LOSSES)
    assert float((found_labels == labels).float().mean()) >= 0.98
    assert float((found_gradients - gradients).norm() / gradients.norm()) <= GRADIENTS


def test_a_training_step_compiled(module, batch, dynamo):
    loss, gradients, labels = training_step(module, batch)
    module.network.encoder.compile(backend="eager", dynamic=False)
    found, found_gradients, found_labels = training_step(module, batch)
    assert found == pytest.approx(loss, rel=ROUNDING)
    assert torch.equal(found_labels, labels)
    assert float((found_gradients - gradients).norm() / gradients.norm()) <= ROUNDING
    assert dynamo["unique_graphs"] > 1  # the training pass, and those for class activation maps
