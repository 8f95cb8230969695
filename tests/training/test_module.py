from __future__ import annotations

from functools import partial

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tests.commands import shell
from tests.imagined_gpu import imagined_gpu
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from afa_wsss.evaluation.metrics import SegmentationScores
from afa_wsss.losses import AffinityLoss, ClassificationLoss, DenseEnergyLoss, SegmentationLoss
from afa_wsss.models import create_model
from afa_wsss.supervision import PARSettings, Supervision
from afa_wsss.training import module as module_file
from afa_wsss.training.callbacks import ProgressBar, Throughput
from afa_wsss.training.module import STAGES, AFAModule
from afa_wsss.training.optim import afa_optimizer, warmup_poly
from afa_wsss.types import IGNORE_INDEX, Batch

FIRST, WALK = 2, 4
NAMES = ("cat", "dog")


@pytest.fixture
def batch():
    masks = torch.randint(0, 3, (2, 32, 48), dtype=torch.uint8)
    return Batch(
        images=torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8),
        image_labels=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        boxes=torch.tensor([[0, 32, 0, 48], [4, 30, 8, 40]]),
        names=("a", "b"),
        masks=masks,
    )


@pytest.fixture
def module():
    losses = {
        "classification": ClassificationLoss(1.0),
        "segmentation": SegmentationLoss(0.1, FIRST),
        "affinity": AffinityLoss(0.1, FIRST),
    }
    supervision = Supervision(
        radius=2, first_step=FIRST, walk_first_step=WALK, par=PARSettings(dilations=(1, 2), steps=2)
    )
    return AFAModule(
        create_model("mit_nano", num_classes=2, decoder_width=16),
        supervision,
        losses,
        afa_optimizer,
        partial(warmup_poly, max_steps=10),
        class_names=NAMES,
        palette=np.zeros((3, 3), dtype=np.uint8),
        cam_scales=(1.0, 0.5),
    )


@pytest.fixture
def logged(module, monkeypatch):
    """What the module logs, by name."""
    found = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: found.__setitem__(name, float(value)))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: found.update({k: float(v) for k, v in values.items()}))
    return found


def at_step(monkeypatch, step):
    monkeypatch.setattr(AFAModule, "global_step", step)


def test_the_first_phase_makes_no_maps(module, batch, logged, monkeypatch):
    at_step(monkeypatch, FIRST - 1)
    monkeypatch.setattr(module_file, "make_maps", lambda *_, **__: pytest.fail("a map was made"))
    total = module.training_step(batch._replace(masks=None), 0)
    assert set(logged) == {"train/classification_loss", "train/loss"}
    assert total.item() == pytest.approx(logged["train/classification_loss"])


@pytest.mark.parametrize("step", [FIRST, WALK])
def test_the_total_is_the_weighted_sum(module, batch, logged, monkeypatch, step):
    at_step(monkeypatch, step)
    total = module.training_step(batch._replace(masks=None), 0).item()
    parts = [logged[f"train/{name}_loss"] for name in ("classification", "segmentation", "affinity")]
    assert total == pytest.approx(parts[0] + 0.1 * parts[1] + 0.1 * parts[2], rel=1e-5)


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
            assert module.inspect(move(batch)).prediction.device.type == "cuda"


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
    module.make_optimizer = lambda network: torch.optim.SGD(network.parameters(), lr=1e-3)
    module.make_scheduler = lambda optimizer: warmup_poly(optimizer, max_steps=10)
    shell.quiet_libraries()
    bar = ProgressBar()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=5,
        limit_val_batches=0,
        log_every_n_steps=5,
        callbacks=[bar, Throughput()],
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


def test_masks_are_never_looked_at_in_training(module, batch, logged, monkeypatch):
    at_step(monkeypatch, WALK)
    module.eval()  # no dropout: both steps see the same network
    changed = batch._replace(masks=torch.zeros_like(batch.masks))
    assert module.training_step(batch, 0).item() == module.training_step(changed, 0).item()


@pytest.mark.parametrize(("step", "by_walk"), [(FIRST, False), (WALK - 1, False), (WALK, True)])
def test_the_walk_takes_over_at_its_step(module, batch, monkeypatch, step, by_walk):
    at_step(monkeypatch, step)
    module.eval()
    images = module_file.normalize(batch.images)
    output = module.network(images)
    label = module.supervise(batch, images, output).pseudo_label
    monkeypatch.setattr(AFAModule, "global_step", WALK)
    assert bool((label == module.supervise(batch, images, output).pseudo_label).all()) == by_walk


def test_validation_scores_every_stage_inside_the_photo_alone(module, batch, logged):
    module.eval()
    with torch.no_grad():
        found = module.validation_step(batch, 0)
    truth = batch.masks.clone()
    truth[1] = IGNORE_INDEX
    truth[1, 4:30, 8:40] = batch.masks[1, 4:30, 8:40]
    by_hand = SegmentationScores(3)
    by_hand.update(found.prediction, truth)
    module.on_validation_epoch_end()
    assert logged["val/miou"] == pytest.approx(float(by_hand.compute().miou))
    assert {f"val/{name}_miou" for name in STAGES} <= set(logged)
    assert {"val/cam_best_miou", "val/cam_best_background", "val/class_f1", "val/iou/background"} <= set(logged)
    assert logged["val/cam_best_miou"] >= logged["val/cam_miou"] - 1e-4


def test_each_validation_starts_anew(module, batch, logged):
    module.eval()
    for _ in range(2):
        with torch.no_grad():
            module.validation_step(batch, 0)
        module.on_validation_epoch_end()
        first = logged.copy()
    assert first == logged
    assert all(not metric.update_called for metric in module.validation_metrics())


def test_without_masks_the_class_branch_alone_is_scored(module, batch, logged):
    module.eval()
    with torch.no_grad():
        module.validation_step(batch._replace(masks=None), 0)
    module.on_validation_epoch_end()
    assert set(logged) == {"val/class_f1", "val/class_accuracy"}


def test_the_losses_see_photos_and_boxes(module, batch, logged, monkeypatch):
    at_step(monkeypatch, FIRST)
    module.losses["regularization"] = DenseEnergyLoss(1e-3, FIRST)
    total = module.training_step(batch._replace(masks=None), 0)
    assert logged["train/regularization_loss"] < 0
    weights = {name: term.weight for name, term in module.losses.items()}
    parts = [weight * logged[f"train/{name}_loss"] for name, weight in weights.items()]
    assert total.item() == pytest.approx(sum(parts), rel=1e-5)


def test_the_crf_reads_the_prediction_where_it_is_asked_for(module, batch, logged):
    module.eval()
    with torch.no_grad():
        assert module.inspect(batch).refined is None
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
        assert "val/crf_miou" not in logged
        module.crf = True
        found = module.validation_step(batch, 0)
        module.on_validation_epoch_end()
        logits = module_file.multi_scale_logits(module.network, module_file.normalize(batch.images))
    assert torch.equal(found.prediction, logits.argmax(dim=1))
    assert torch.equal(found.refined, module_file.crf_labels(batch.images, logits, batch.boxes))
    assert 0 <= logged["val/crf_miou"] <= 100


def test_the_affinity_is_that_of_the_largest_scale(module, batch):
    module.eval()
    module.cam_scales = (0.5, 1.5)
    with torch.no_grad():
        found = module.inspect(batch)
    rows, columns = found.affinity_grid
    assert (rows, columns) == module.network.grid(48, 72)
    assert found.affinity.shape == (2, rows * columns, rows * columns)


def test_lightning_gets_optimizer_and_schedule_by_step(module):
    made = module.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["lr_scheduler"]["scheduler"].optimizer is made["optimizer"]
