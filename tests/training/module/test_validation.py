"""What a validation scores, stage by stage."""

from __future__ import annotations

import pytest
import torch
from tests.training.module.modules import NAMES, STAGES, make_module

from afa_wsss.evaluation.metrics import SegmentationScores
from afa_wsss.inference import InferenceSettings
from afa_wsss.training import module as module_file


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
