"""Making labels: what is reused or left out changes nothing, and nothing waits for the device or loops over photos."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import present_classes
from afa_wsss.supervision import Supervision
from afa_wsss.training.maps import make_maps, make_targets, read_stages
from afa_wsss.types import Batch

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero"}
"""Operators whose result, or its size, the host has to wait for."""

SUPERVISION = Supervision(low=0.4, high=0.6, radius=2, first_step=0, walk_first_step=0)
SCALES = (1.0, 1.5)


class Watched(TorchDispatchMode):
    """Counts operators, refuses those that wait, and notes the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.counts, self.largest = Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        self.counts["slice" if name == "alias" else name] += 1  # torch calls a slice of all an alias
        made = func(*args, **(kwargs or {}))
        self.largest = max([self.largest, *(part.numel() for part in [made] if isinstance(part, torch.Tensor))])
        return made


def a_batch(count=2, classes=5, most=2, side=64, *, device="cpu", full=False):
    labels = torch.zeros(count, classes)
    for row in range(count):
        labels[row, [classes - 1 - (row + index) % classes for index in range(most)]] = 1
    boxes = torch.tensor([[0, side, 0, side] if full or row % 2 else [3, side - 2, 8, side] for row in range(count)])
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    return Batch(images.to(device), labels.to(device), boxes.to(device), ("",) * count, None, most, full)


def labelled(network, batch):
    images = normalize(batch.images)
    maps = make_maps(network, batch, images, network(images), scales=SCALES)
    grid = network.grid(*images.shape[-2:])
    return make_targets(SUPERVISION, batch, maps, grid=grid, step=1, classes=network.num_classes), maps


def a_network(classes=5):
    return create_model("mit_b0", classes, decoder_width=8, drop_path_rate=0.0).eval()


def watched(batch):
    network = a_network(batch.image_labels.shape[1])
    with torch.no_grad(), Watched() as found:
        labelled(network, batch)
    return found


@torch.no_grad()
def test_slots_change_no_label():
    network, batch = a_network(), a_batch(3)
    targets, _ = labelled(network, batch)
    every, _ = labelled(network, batch._replace(most_classes=None))
    assert torch.equal(targets.pseudo_label, every.pseudo_label)
    assert torch.equal(targets.affinity_label, every.affinity_label)
    for row in range(3):
        own = batch.image_labels[row].nonzero()[:, 0] + 1
        assert set(targets.pseudo_label[row].unique().tolist()) <= {0, 255, *own.tolist()}
    assert len(targets.pseudo_label.unique()) >= 4


@torch.no_grad()
def test_one_kernel_for_full_frames_changes_no_label():
    network, batch = a_network(), a_batch(full=True)
    (shared, maps), (own, _) = labelled(network, batch), labelled(network, batch._replace(full_frames=False))
    assert (shared.pseudo_label == own.pseudo_label).float().mean() >= 0.999
    for one, other in zip(
        read_stages(SUPERVISION, batch, maps),
        read_stages(SUPERVISION, batch._replace(full_frames=False), maps),
        strict=True,
    ):
        assert (one == other).float().mean() >= 0.999


def test_one_kernel_serves_both_kinds_of_label_and_all_thresholds(monkeypatch):
    made = []
    module = "afa_wsss.supervision.scores.neighbour_kernel"
    from afa_wsss.ops.par import neighbour_kernel

    monkeypatch.setattr(module, lambda *a, **k: made.append(1) or neighbour_kernel(*a, **k))
    labelled(a_network(), a_batch(full=True))
    assert len(made) == 1
    labelled(a_network(), a_batch(full=False))
    assert len(made) == 1 + 2  # of the crops with their padding, and of the boxes


def test_nothing_waits_for_the_device():
    assert watched(a_batch()).counts["gather"] > 0


def test_no_loop_over_photos_or_classes():
    few = watched(a_batch(count=2, classes=3, most=1)).counts
    assert watched(a_batch(count=5, classes=40, most=2)).counts == few


def test_no_tensor_holds_a_copy_of_the_scores_for_each_neighbour():
    """The largest is 48 weights a pixel, or the tokens' hidden layers; neither knows of classes."""
    one, two = (watched(a_batch(count=2, classes=80, most=most, side=96)).largest for most in (1, 8))
    assert one == two


@pytest.mark.parametrize("full", [False, True])
def test_nothing_waits_for_a_gpu_by_the_way_that_it_goes_there(full):
    """PAR has another form on a GPU; needs none."""
    network, batch = a_network(), a_batch(full=full)
    with torch.no_grad(), imagined_gpu() as move:
        targets, _ = labelled(move(network), move(batch))
    assert targets.pseudo_label.device.type == "cuda"
    with pytest.raises(AssertionError, match="waits for the device"), imagined_gpu() as move:
        move(batch).boxes.to("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
def test_nothing_waits_for_a_gpu():
    network, batch = a_network().cuda(), a_batch(device="cuda")
    with torch.no_grad():
        labelled(network, batch)
        torch.cuda.set_sync_debug_mode("error")
        try:
            labelled(network, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_slots_hold_the_photos_own_classes_in_order():
    present = present_classes(torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 1]]), 2)
    assert present.classes.tolist() == [[1, 3], [3, 0]]
    assert present.labels.tolist() == [[1, 1], [1, 0]]
    slots = torch.tensor([[[0, 1, 2, 255]], [[0, 1, 1, 255]]], dtype=torch.uint8)
    assert present.named(slots).tolist() == [[[0, 2, 4, 255]], [[0, 4, 4, 255]]]
    assert present_classes(torch.zeros(1, 3), 0).classes.shape == (1, 1)


def test_maps_of_all_classes_are_zero_where_there_is_no_slot():
    batch = a_batch()
    _, maps = labelled(a_network(), batch)
    every = maps.of_classes(5)
    assert every.shape == (2, 5, 64, 64)
    assert torch.equal(every.flatten(2).amax(2) > 0, batch.image_labels.bool())


def test_more_classes_than_a_byte_holds_are_refused():
    network, batch = a_network(255), a_batch(classes=255)
    with pytest.raises(UserError, match="need at most 254 classes for labels of pixels, which are bytes, got 255"):
        labelled(network, batch)
