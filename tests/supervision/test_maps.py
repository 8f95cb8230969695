"""Maps and targets: what is reused or left out changes no label; nothing waits for the device or loops over photos."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.errors import UserError
from afa_wsss.inference import Views
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize
from afa_wsss.ops.pseudo_label import present_classes
from afa_wsss.supervision import AFALabels
from afa_wsss.supervision.maps import make_maps
from afa_wsss.types import Batch

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero"}
"""Operators for whose result, or its size, the host waits."""

MAKER = AFALabels(low=0.4, high=0.6, radius=2, first_step=0, walk_first_step=0, cam_scales=(1.0, 1.5))


class Watched(TorchDispatchMode):
    """Counts operators, refuses those that wait, and records the size of the largest tensor."""

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


def labeled(network, batch):
    images = normalize(batch.images)
    return MAKER.targets(network, batch, images, network(images), step=1)


def stages(network, batch):
    images = normalize(batch.images)
    return MAKER.stages(network, batch, images, network(images))


def a_network(classes=5):
    return create_model("mit_b0", classes, decoder_width=8, drop_path_rate=0.0).eval()


def watched(batch):
    network = a_network(batch.image_labels.shape[1])
    with torch.no_grad(), Watched() as found:
        labeled(network, batch)
    return found


@torch.no_grad()
def test_the_grid_is_that_of_images_enlarged_to_what_the_network_takes():
    network, batch = a_network(), a_batch(1, side=64)
    images = normalize(batch.images)
    for each in (network, Views(network, images)):
        made = make_maps(each, batch, images, each(images), scales=(0.25,))
        assert made.affinity.queries.shape[1] == math.prod(made.grid) == 4


@torch.no_grad()
def test_slots_change_no_label():
    network, batch = a_network(), a_batch(3)
    targets, every = labeled(network, batch), labeled(network, batch._replace(most_classes=None))
    assert torch.equal(targets.pseudo_label, every.pseudo_label)
    assert torch.equal(targets.affinity_label, every.affinity_label)
    for row in range(3):
        own = batch.image_labels[row].nonzero()[:, 0] + 1
        assert set(targets.pseudo_label[row].unique().tolist()) <= {0, 255, *own.tolist()}
    assert len(targets.pseudo_label.unique()) >= 4


@torch.no_grad()
def test_one_kernel_for_full_frames_changes_no_label():
    network, batch = a_network(), a_batch(full=True)
    other = batch._replace(full_frames=False)
    shared, own = labeled(network, batch), labeled(network, other)
    assert (shared.pseudo_label == own.pseudo_label).float().mean() >= 0.999
    shared, own = stages(network, batch), stages(network, other)
    assert list(shared) == list(own) == ["cam", "cam_par", "walk", "pseudo_label"]
    for name, stage in shared.items():
        assert (stage.labels == own[name].labels).float().mean() >= 0.999


def test_one_kernel_serves_both_kinds_of_labels_and_all_thresholds(monkeypatch):
    made = []
    target = "afa_wsss.supervision.par.neighbor_kernel"
    from afa_wsss.ops.par import neighbor_kernel

    monkeypatch.setattr(target, lambda *a, **k: made.append(1) or neighbor_kernel(*a, **k))
    labeled(a_network(), a_batch(full=True))
    assert len(made) == 1
    labeled(a_network(), a_batch(full=False))
    assert len(made) == 1 + 2  # one for the crops with their padding, one for the boxes


def test_no_operation_waits_for_the_device():
    assert watched(a_batch()).counts["gather"] > 0


def test_no_loop_over_photos_or_classes():
    few = watched(a_batch(count=2, classes=3, most=1)).counts
    assert watched(a_batch(count=5, classes=40, most=2)).counts == few


def test_no_tensor_holds_a_copy_of_the_scores_for_each_neighbor():
    """The largest tensor holds 48 weights per pixel, or hidden layers; the size of neither depends on the classes."""
    one, two = (watched(a_batch(count=2, classes=80, most=most, side=96)).largest for most in (1, 8))
    assert one == two


@pytest.mark.parametrize("full", [False, True])
def test_no_operation_for_a_gpu_waits(full):
    """PAR has another form on a GPU; this test needs none."""
    network, batch = a_network(), a_batch(full=full)
    with torch.no_grad(), imagined_gpu() as move:
        targets = labeled(move(network), move(batch))
    assert targets.pseudo_label.device.type == "cuda"
    with pytest.raises(AssertionError, match="waits for the device"), imagined_gpu() as move:
        move(batch).boxes.to("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none")
def test_no_operation_waits_on_a_real_gpu():
    network, batch = a_network().cuda(), a_batch(device="cuda")
    with torch.no_grad():
        labeled(network, batch)
        torch.cuda.set_sync_debug_mode("error")
        try:
            labeled(network, batch)
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
    network, batch = a_network(), a_batch()
    images = normalize(batch.images)
    every = make_maps(network, batch, images, network(images), scales=MAKER.cam_scales).all_classes(5)
    assert every.shape == (2, 5, 64, 64)
    assert torch.equal(every.flatten(2).amax(2) > 0, batch.image_labels.bool())


def test_more_classes_than_a_byte_holds_are_refused():
    network, batch = a_network(255), a_batch(classes=255)
    with pytest.raises(UserError, match="need at most 254 classes for pixel labels, which are bytes, got 255") as error:
        labeled(network, batch)
    assert error.value.kind == "too_many_classes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: maps.cam, "need Maps from Changed.maps, got Tensor"),
        (
            lambda maps: maps._replace(cam=maps.cam[:, :1]),
            r"need cam of shape \(2, 2, 64, 64\) from Changed.maps, got \(2, 1,",
        ),
        (lambda maps: maps._replace(cam=maps.cam[..., ::2, ::2]), r"got \(2, 2, 32, 32\)"),
        (
            lambda maps: maps._replace(cam=maps.cam * 3),
            r"need cam in \[0, 1\] from Changed.maps, got 0 to 3; normalize",
        ),
        (lambda maps: maps._replace(cam=maps.cam * torch.nan), "got nan to nan"),
    ],
)
def test_maps_of_a_label_maker_of_ones_own_are_checked(change, message):
    @dataclass(frozen=True)
    class Changed(AFALabels):
        def maps(self, network, batch, images, output):
            return change(super().maps(network, batch, images, output))

    network, batch = create_model("mit_nano", num_classes=5, decoder_width=16).eval(), a_batch()
    images = normalize(batch.images)
    maker, output = Changed(radius=2, cam_scales=(1.0,)), network(images)
    with pytest.raises(UserError, match=message):
        maker.targets(network, batch, images, output, step=9000)
    with pytest.raises(UserError, match=message):
        maker.stages(network, batch, images, output)
