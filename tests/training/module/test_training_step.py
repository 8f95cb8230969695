from __future__ import annotations

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tests.commands import quiet_libraries
from tests.imagined_gpu import imagined_gpu
from tests.training.module.modules import FIRST, WALK, at_step, make_module, supervise
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from afa_wsss.losses import DenseEnergyLoss
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels
from afa_wsss.supervision import AFALabels
from afa_wsss.training.callbacks import NonFinite, ProgressBar, Signals, Throughput
from afa_wsss.training.module import AFAModule
from afa_wsss.types import affinity_row


def test_steps_without_a_loss_that_needs_labels_make_none(module, batch, logged, monkeypatch):
    at_step(monkeypatch, FIRST - 1)
    monkeypatch.setattr(AFALabels, "targets", lambda *_, **__: pytest.fail("labels were made"))
    total = module.training_step(batch._replace(masks=None), 0)
    assert set(logged) == {"train/classification_loss", "train/loss"}
    assert total.item() == pytest.approx(logged["train/classification_loss"])


@pytest.mark.parametrize("step", [FIRST, WALK])
def test_the_total_is_the_weighted_sum(module, batch, logged, monkeypatch, step):
    at_step(monkeypatch, step)
    total = module.training_step(batch._replace(masks=None), 0).item()
    parts = [logged[f"train/{name}_loss"] for name in ("classification", "segmentation", "affinity")]
    assert total == pytest.approx(parts[0] + 0.1 * parts[1] + 0.1 * parts[2], rel=1e-5)


def test_neither_training_nor_validation_computes_all_pairs_of_tokens(module, batch, logged, monkeypatch):
    for part in (TokenAffinity, TokenLabels):
        monkeypatch.setattr(part, "dense", lambda _self: pytest.fail("all pairs were computed"))
    for step in (0, FIRST, WALK):
        at_step(monkeypatch, step)
        module.training_step(batch._replace(masks=None), 0).backward()
    with torch.no_grad():
        found = module.eval().inspect(batch)
    assert affinity_row(found.affinity, 1, 3).shape == (found.grid[0] * found.grid[1],)


@pytest.mark.parametrize("step", [0, FIRST, WALK])
def test_a_step_waits_for_no_gpu(module, batch, monkeypatch, step):
    """By the way that it takes on one, and needs none."""
    at_step(monkeypatch, step)
    for name in ("log", "log_dict"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    with imagined_gpu() as move:
        total = move(module).training_step(move(batch._replace(masks=None)), 0)
        assert total.device.type == "cuda"
        module.eval()
        with torch.no_grad():
            assert module.inspect(move(batch)).branch["segmentation"].labels.device.type == "cuda"


class Waits(TorchDispatchMode):
    """The steps in which a tensor's value was read."""

    def __init__(self, trainer):
        super().__init__()
        self.trainer, self.steps = trainer, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten._local_scalar_dense:
            self.steps.add(self.trainer.global_step)
        return func(*args, **(kwargs or {}))


def test_steps_between_those_that_are_logged_read_no_value(module, batch, tmp_path):
    """A GPU is given the next step while it still works on this one: the Trainer's loop, logs and bar included."""
    module.make_optimizer = lambda network, _: torch.optim.SGD(network.parameters(), lr=1e-3, fused=True)  # as on a GPU
    quiet_libraries()
    bar = ProgressBar()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=5,
        limit_val_batches=0,
        log_every_n_steps=5,
        callbacks=[Signals(), NonFinite(), bar, Throughput()],
        logger=CSVLogger(tmp_path),
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    batches = DataLoader([batch._replace(masks=None)] * 5, batch_size=None)
    with Waits(trainer) as found:
        trainer.fit(module, batches, val_dataloaders=[])
    assert found.steps & {1, 2, 3, 4, 5} == {1, 5}  # of the first the bar shows the loss
    assert bar.shown["train/loss"] == float(trainer.logged_metrics["train/loss"])


@pytest.mark.parametrize("step", [0, FIRST, WALK])
def test_every_parameter_that_ddp_waits_for_has_a_gradient(module, batch, logged, monkeypatch, step):
    at_step(monkeypatch, step)
    module.training_step(batch._replace(masks=None), 0).backward()
    without = [name for name, parameter in module.network.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize(("step", "passes"), [(0, 0), (FIRST, 1)])
def test_the_decoder_runs_where_its_output_is_read(module, batch, logged, monkeypatch, step, passes):
    at_step(monkeypatch, step)
    seen = []
    module.network.segmentation_head.register_forward_hook(lambda *_: seen.append(1))
    module.training_step(batch._replace(masks=None), 0).backward()
    assert len(seen) == passes
    gradients = [parameter.grad for parameter in module.network.segmentation_head.parameters()]
    assert any(gradient.any() for gradient in gradients) == bool(passes)


def test_the_official_settings_run_the_decoder_at_every_step(module, batch, logged, monkeypatch):
    at_step(monkeypatch, 0)
    module.network.cam_in_training_mode = True
    statistics = module.network.segmentation_head.norm.running_mean.clone()
    module.training_step(batch._replace(masks=None), 0)
    assert not torch.equal(module.network.segmentation_head.norm.running_mean, statistics)


@pytest.mark.parametrize("classes", [1, 2])
def test_photos_without_any_class_are_background(module, batch, logged, monkeypatch, classes):
    at_step(monkeypatch, WALK)
    if classes == 1:
        module = make_module(classes=1)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update(values))
    negatives = batch._replace(image_labels=torch.zeros(2, classes), masks=batch.masks * 0, most_classes=0)
    assert module.training_step(negatives._replace(masks=None), 0).isfinite()
    shares = module.label_shares.compute()
    inside = 32 * 48 + 26 * 32
    assert module.label_shares.counts.sum() == inside
    assert (shares.background, shares.foreground) == (100, 0)
    module.eval()
    with torch.no_grad():
        module.validation_step(negatives, 0)
    module.on_validation_epoch_end()
    assert "val/class_f1" not in logged
    assert logged["val/labels/pseudo_label/background"] == 100


def test_groups_of_the_optimizer_without_parameters_are_left_out_of_old_checkpoints(module):
    groups = [{"params": [0, 1], "name": "backbone"}, {"params": [], "name": "norms"}, {"params": [2], "name": "heads"}]
    checkpoint = {"optimizer_states": [{"state": {}, "param_groups": groups}]}
    module.on_load_checkpoint(checkpoint)
    assert [group["name"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == ["backbone", "heads"]


def test_masks_are_never_looked_at_in_training(module, batch, logged, monkeypatch):
    at_step(monkeypatch, WALK)
    module.eval()  # no dropout: both steps see the same network
    changed = batch._replace(masks=torch.zeros_like(batch.masks))
    assert module.training_step(batch, 0).item() == module.training_step(changed, 0).item()


@pytest.mark.parametrize(("step", "by_walk"), [(FIRST, False), (WALK - 1, False), (WALK, True)])
def test_the_walk_takes_over_at_its_step(module, batch, monkeypatch, step, by_walk):
    at_step(monkeypatch, step)
    module.eval()
    label = supervise(module, batch).pseudo_label
    monkeypatch.setattr(AFAModule, "global_step", WALK)
    assert bool((label == supervise(module, batch).pseudo_label).all()) == by_walk


def test_the_losses_see_photos_and_boxes(module, batch, logged, monkeypatch):
    at_step(monkeypatch, FIRST)
    module.losses["regularization"] = DenseEnergyLoss(weight=1e-3, first_step=FIRST)
    total = module.training_step(batch._replace(masks=None), 0)
    assert logged["train/regularization_loss"] < 0
    weights = {name: term.weight for name, term in module.losses.items()}
    parts = [weight * logged[f"train/{name}_loss"] for name, weight in weights.items()]
    assert total.item() == pytest.approx(sum(parts), rel=1e-5)


def test_lightning_gets_optimizer_and_schedule_by_step(module):
    made = module.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["lr_scheduler"]["scheduler"].optimizer is made["optimizer"]
