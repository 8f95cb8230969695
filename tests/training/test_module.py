from __future__ import annotations

from copy import deepcopy
from functools import partial

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tests.commands import quiet_libraries
from tests.imagined_gpu import imagined_gpu
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from afa_wsss.errors import UserError
from afa_wsss.evaluation.metrics import SegmentationScores
from afa_wsss.inference import InferenceSettings
from afa_wsss.losses import AffinityLoss, ClassificationLoss, DenseEnergyLoss, LossTerm, SegmentationLoss
from afa_wsss.models import create_model
from afa_wsss.ops.affinity import TokenAffinity, TokenLabels
from afa_wsss.supervision import PAR, AFALabels
from afa_wsss.training import module as module_file
from afa_wsss.training.callbacks import NonFinite, ProgressBar, Signals, Throughput
from afa_wsss.training.module import AFAModule
from afa_wsss.training.optim import OptimizerSettings, SchedulerSettings, afa_optimizer, warmup_poly
from afa_wsss.training.terms import active_terms
from afa_wsss.types import Batch, Targets, affinity_row

FIRST, WALK = 2, 4
NAMES = ("cat", "dog")
STAGES = ("cam", "cam_par", "walk", "pseudo_label")
LABELS = AFALabels(
    radius=2, first_step=FIRST, walk_first_step=WALK, cam_scales=(1.0, 0.5), refinement=PAR(dilations=(1, 2), steps=2)
)
LOSSES = {
    "classification": ClassificationLoss(),
    "segmentation": SegmentationLoss(weight=0.1, first_step=FIRST),
    "affinity": AffinityLoss(weight=0.1, first_step=FIRST),
}


def make_module(losses=LOSSES, labels=LABELS, classes=2):
    return AFAModule(
        create_model("mit_nano", num_classes=classes, decoder_width=16),
        labels,
        deepcopy(losses),
        lambda network, others: afa_optimizer(network, OptimizerSettings(), others=others),
        partial(warmup_poly, settings=SchedulerSettings(), max_steps=10),
        class_names=NAMES[:classes],
        palette=np.zeros((classes + 1, 3), dtype=np.uint8),
        inference=InferenceSettings(),
    )


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
    return make_module()


def supervise(module, batch):
    """The targets of the present step."""
    images = module_file.normalize(batch.images)
    terms = active_terms(module.losses, module.global_step)
    return module.supervise(batch, images, module.network(images), terms)


@pytest.fixture
def logged(module, monkeypatch):
    """What the module logs, by name."""
    found = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: found.__setitem__(name, float(value)))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: found.update({k: float(v) for k, v in values.items()}))
    return found


def at_step(monkeypatch, step):
    monkeypatch.setattr(AFAModule, "global_step", step)


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


@pytest.mark.parametrize("mirror", [False, True])
def test_validation_passes_no_view_of_a_photo_twice(module, batch, mirror):
    module.inference = InferenceSettings(scales=(0.5, 1.0, 1.5), mirror=mirror)
    found = []
    module.eval().network.encoder.register_forward_pre_hook(
        lambda _, inputs: found.extend(one.numpy().tobytes() for one in inputs[0])
    )
    module.inspect(batch)
    views = 2 * 3 if mirror else 2 * 2 + 1  # CAMs have both ways of scales 1 and 0.5
    assert len(found) == len(set(found)) == 2 * views


def test_groups_of_the_optimizer_without_parameters_are_left_out_of_old_checkpoints(module):
    groups = [{"params": [0, 1], "name": "backbone"}, {"params": [], "name": "norms"}, {"params": [2], "name": "heads"}]
    checkpoint = {"optimizer_states": [{"state": {}, "param_groups": groups}]}
    module.on_load_checkpoint(checkpoint)
    assert [group["name"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == ["backbone", "heads"]


def batch_norms(network):
    return [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]


def test_a_validation_sees_the_weights_of_its_start_with_batch_norms_fused(batch, monkeypatch):
    module, photos = make_module().eval(), batch._replace(masks=None)
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    for _ in range(2):
        with torch.no_grad():
            for norm in batch_norms(module.network.encoder):
                norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean))
        plain = module.inspect(photos)
        module.on_validation_epoch_start()
        network = module.views(module_file.normalize(batch.images)).network
        assert batch_norms(module.network.encoder)
        assert not batch_norms(network.encoder)
        fused = module.inspect(photos)
        with torch.no_grad():
            module.validation_step(photos, 0)
        module.on_validation_epoch_end()
        torch.testing.assert_close(fused.cam, plain.cam, rtol=1e-3, atol=1e-4)
        assert not torch.equal(fused.cam, plain.cam)
        assert module.views(module_file.normalize(batch.images)).network is module.network
    assert not any("_fused" in name for name in module.state_dict())


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


def test_validation_scores_every_stage_inside_the_photo_alone(module, batch, logged):
    module.eval()
    with torch.no_grad():
        first, second = module.validation_step(batch, 0)
    by_hand = SegmentationScores(3)
    by_hand.update(first.branch["segmentation"].labels, batch.masks[:1])
    by_hand.update(second.branch["segmentation"].labels, batch.masks[1:, 4:30, 8:40])
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
    scores = module.scores
    metrics = (*scores.labels.values(), *scores.sweeps.values(), *scores.shares.values(), scores.image_labels)
    assert all(not metric.update_called for metric in metrics)


def test_without_masks_nothing_is_scored_but_image_labels_and_shares_of_pixels(module, batch, logged):
    module.eval()
    with torch.no_grad():
        module.validation_step(batch._replace(masks=None), 0)
    module.on_validation_epoch_end()
    by_class = [f"val/class_{what}/{{}}" for what in ("photos", "f1", "precision", "recall", "threshold", "best_f1")]
    stages = (*STAGES, "segmentation")
    shares = [f"val/labels/{stage}/{what}" for stage in stages for what in ("foreground", "background", "unknown")]
    by_class += [f"val/labels/{stage}/class/{{}}" for stage in ("pseudo_label", "segmentation")]
    each = [key.format(name) for key in by_class for name in NAMES]
    assert set(logged) == {"val/class_f1", "val/class_accuracy", *each, *shares}
    for stage in stages:
        assert sum(logged[f"val/labels/{stage}/{what}"] for what in ("foreground", "background")) == pytest.approx(100)


def test_the_losses_see_photos_and_boxes(module, batch, logged, monkeypatch):
    at_step(monkeypatch, FIRST)
    module.losses["regularization"] = DenseEnergyLoss(weight=1e-3, first_step=FIRST)
    total = module.training_step(batch._replace(masks=None), 0)
    assert logged["train/regularization_loss"] < 0
    weights = {name: term.weight for name, term in module.losses.items()}
    parts = [weight * logged[f"train/{name}_loss"] for name, weight in weights.items()]
    assert total.item() == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.parametrize(("refinement", "always"), [("par", True), ("crf", False)])
def test_the_refinement_is_a_stage_and_the_crf_that_of_the_last_validation(module, batch, logged, refinement, always):
    module.eval()
    with torch.no_grad():
        assert list(module.inspect(batch).branch) == ["segmentation"]
        module.inference = InferenceSettings(refinement=refinement)
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
        assert (f"val/{refinement}_miou" in logged) == always
        module.last_validation = True
        found = module.validation_step(batch, 0)[0].branch
        module.on_validation_epoch_end()
        photo = batch.images[:1]
        logits = module_file.multi_scale_logits(module.network, module_file.normalize(photo))
    assert list(found) == ["segmentation", refinement]
    assert torch.equal(found["segmentation"].labels, module_file.labels_at(logits, logits.shape[-2:]))
    wanted = module_file.refined_labels(photo, logits, batch.boxes[:1], module.inference)
    assert (found[refinement].labels == wanted).float().mean() > 0.999
    assert 0 <= logged[f"val/{refinement}_miou"] <= 100
    assert f"val/labels/{refinement}/class/cat" not in logged


def test_the_gate_leaves_out_what_the_class_branch_does_not_find(module, batch, logged):
    module.eval()
    with torch.no_grad():
        module.network.classifier.weight.zero_()  # each class has probability 0.5
        module.network.segmentation_head.classify.bias.copy_(torch.tensor([0.0, 9.0, 8.0]))
        assert set(module.inspect(batch).branch["segmentation"].labels.unique().tolist()) == {1}
        module.inference = InferenceSettings(gate=0.6, refinement="par")
        assert all(not found.labels.any() for found in module.inspect(batch).branch.values())
        module.inference, module.gate.found = InferenceSettings(gate="auto"), {"cat": 0.7, "dog": 0.3}
        found = module.validation_step(batch, 0)
    assert set(found[0].branch["segmentation"].labels.unique().tolist()) == {2}
    module.on_validation_epoch_end()
    assert logged["val/labels/segmentation/class/dog"] == 100


def test_a_validation_finds_the_thresholds_that_checkpoints_hold(module, batch, logged):
    module.eval()
    with torch.no_grad():
        module.validation_step(batch._replace(image_labels=torch.tensor([[1.0, 0.0], [1.0, 0.0]])), 0)
    module.on_validation_epoch_end()
    assert module.gate.found == {"cat": pytest.approx(logged["val/class_threshold/cat"])}, "no photo has a dog"
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    other = make_module()
    other.on_load_checkpoint(checkpoint)
    assert other.gate.found == module.gate.found
    other.on_load_checkpoint({})
    assert other.gate.found == {}


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


def test_lightning_gets_optimizer_and_schedule_by_step(module):
    made = module.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["lr_scheduler"]["scheduler"].optimizer is made["optimizer"]
