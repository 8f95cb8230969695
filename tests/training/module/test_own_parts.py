"""Losses and label makers of one's own in the module."""

from __future__ import annotations

import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from tests.training.module.modules import FIRST, LOSSES, at_step, make_module

from afa_wsss.errors import UserError
from afa_wsss.losses import LossTerm
from afa_wsss.supervision import AFALabels
from afa_wsss.types import Targets


class ReadsInSilence(LossTerm):
    """A loss that says that it reads no segmentation logits, and does."""

    reads_seg_logits = False

    def forward(self, output, targets):
        return output.seg_logits.mean()


def test_segmentation_logits_that_were_left_out_are_an_error(batch, logged, monkeypatch):
    at_step(monkeypatch, 0)
    module = make_module(losses={"silent": ReadsInSilence()})
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"need seg_logits, .* set reads_seg_logits = True in the class that does"):
        module.training_step(batch._replace(masks=None), 0)


def test_a_loss_of_ones_own_gets_them(batch, logged, monkeypatch):
    at_step(monkeypatch, 0)
    module = make_module(losses={"own": type("Own", (ReadsInSilence,), {"reads_seg_logits": True})()})
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    assert module.training_step(batch._replace(masks=None), 0).isfinite()


class Sharpness(LossTerm):
    """A loss with a parameter and a buffer of its own."""

    needs = ("pseudo_label",)

    def __init__(self, *, weight=1.0, first_step=0, temperature=2.0):
        super().__init__(weight=weight, first_step=first_step)
        self.temperature = temperature
        self.sharpness = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, output, targets):
        self.seen += 1
        return (output.seg_logits * self.sharpness / self.temperature).logsumexp(dim=1).mean()


@pytest.mark.parametrize("step", [0, FIRST])
def test_parameters_of_a_loss_are_trained_and_stored(batch, logged, monkeypatch, step):
    """Before its first step its gradient is 0, not missing: DDP waits for it."""
    module = make_module({**LOSSES, "sharp": Sharpness(first_step=FIRST)})
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    at_step(monkeypatch, step)
    module.training_step(batch._replace(masks=None), 0).backward()
    assert (float(module.losses["sharp"].sharpness.grad) != 0) == (step == FIRST)
    assert int(module.losses["sharp"].seen) == int(step == FIRST)
    groups = {group["name"]: group["params"] for group in module.configure_optimizers()["optimizer"].param_groups}
    assert groups["losses"] == [module.losses["sharp"].sharpness]
    assert {"losses.sharp.sharpness", "losses.sharp.seen"} <= set(module.state_dict())
    with imagined_gpu() as move:
        assert {part.device.type for part in (*move(module).losses.parameters(), *module.losses.buffers())} == {"cuda"}


class Depth(LossTerm):
    """Compares what AFA's label maker does not make."""

    needs = ("depth",)

    def forward(self, output, targets):
        return (output.seg_logits.mean() - targets.others["depth"]).abs()


class WithDepth(AFALabels):
    """Makes it, and says so."""

    makes = ("pseudo_label", "affinity_label", "depth")

    def targets(self, network, batch, images, output, *, step):
        return Targets.of(batch, depth=torch.ones(()))


class Forgetful(AFALabels):
    """Says that it makes pixel labels, and does not."""

    def targets(self, network, batch, images, output, *, step):
        return Targets.of(batch)


def test_an_active_loss_whose_target_nobody_makes_is_refused_before_training():
    with pytest.raises(UserError, match="need a label maker that makes depth for the loss 'depth'") as raised:
        make_module({"depth": Depth()})
    assert raised.value.arguments == ("loss.depth",)
    make_module({"depth": Depth(weight=0.0)})


def test_a_label_maker_may_make_targets_of_its_own(batch, logged, monkeypatch):
    module = make_module({"depth": Depth()}, WithDepth())
    for name in ("log", "log_dict"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    at_step(monkeypatch, 0)
    assert module.training_step(batch._replace(masks=None), 0).isfinite()


def test_a_label_maker_that_leaves_out_what_it_makes_is_named(batch, logged, monkeypatch):
    module = make_module(labels=Forgetful())
    at_step(monkeypatch, FIRST)
    with pytest.raises(UserError, match=r"Forgetful\.targets left it None"):
        module.training_step(batch._replace(masks=None), 0)
