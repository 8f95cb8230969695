"""The network: values of the official code, passes for class activation maps, pooling, precision."""

from __future__ import annotations

import pytest
import torch
from tests.reference_network import reference_network
from torch.utils._python_dispatch import TorchDispatchMode

from afa_wsss.models import create_model


class Operators(TorchDispatchMode):
    """Records the names of all operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", [0, 1])
@torch.no_grad()
def test_equals_the_official_network(golden, case) -> None:
    data = {name: torch.from_numpy(value) for name, value in golden("network_mit_b0").items()}
    images, model = data[f"image{case}"], reference_network()
    features, attention = model.encoder(images)
    output = model(images)
    found = {
        "stage4_": features[3],
        "attention_logits": attention.logits().unflatten(1, (2, 8)),
        "class_logits": output.class_logits,
        "seg_logits": output.seg_logits,
        "affinity": output.affinity,
        "cam": output.cam,
    } | {f"stage{i + 1}_mean": features[i].mean((2, 3)) for i in range(3)}
    for name, value in found.items():
        torch.testing.assert_close(
            value, data[f"{name}{case}"], atol=1e-4, rtol=0, msg=lambda message, name=name: f"{name}: {message}"
        )
    assert model.grid(*images.shape[-2:]) == tuple(output.cam.shape[-2:])


def test_cam_pass_equals_the_forward_pass() -> None:
    # In double precision, as a pass without gradient sums in another order.
    model, images = reference_network().double(), torch.randn(2, 3, 48, 64, dtype=torch.float64)
    cam, affinity = model.activate(images, affinity=True)
    output = model(images)
    torch.testing.assert_close(cam, output.cam)
    torch.testing.assert_close(affinity.dense(), output.affinity)
    without, none = model.activate(images)
    torch.testing.assert_close(without, output.cam)
    assert none is None


def test_output_holds_the_last_features_with_gradient() -> None:
    model, images = reference_network(), torch.randn(1, 3, 48, 64)
    features = model(images).features
    torch.testing.assert_close(features, model.encoder(images).features[-1])
    features.sum().backward()
    assert all(parameter.grad is None for parameter in model.segmentation_head.parameters())
    assert any(parameter.grad is not None for parameter in model.encoder.parameters())


def test_cam_pass_drops_no_paths_and_leaves_the_mode() -> None:
    trained = create_model("mit_nano", 3, drop_path_rate=0.9).train()
    frozen = trained.encoder.stages[0].eval()
    images = torch.randn(2, 3, 64, 64)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    first, affinity = trained.activate(images, affinity=True)
    assert torch.equal(first, trained.activate(images)[0])
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert trained.training
    assert trained.encoder.stages[1].blocks[0].training
    assert not frozen.embedding.training
    assert not first.requires_grad
    assert not affinity.dense().requires_grad


def test_cam_pass_in_training_mode_drops_paths_and_updates_the_batch_norm() -> None:
    model = create_model("mit_b0", 2, decoder_width=16, drop_path_rate=0.9, cam_in_training_mode=True)
    images, counted = torch.randn(1, 3, 64, 64), model.segmentation_head.norm.num_batches_tracked
    first, second = (model.activate(images)[0] for _ in range(2))
    assert not torch.equal(first, second)  # paths are dropped
    assert counted == 2
    model.eval()
    first, second = (model.activate(images)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert counted == 2


def test_affinity_is_symmetric_and_gives_gradient_to_the_attention() -> None:
    network = create_model("mit_nano", 3)
    affinity = network(torch.randn(1, 3, 64, 64)).affinity
    torch.testing.assert_close(affinity, affinity.transpose(1, 2))
    affinity.mean().backward()
    for block in network.encoder.stages[-1].blocks:
        assert block.attention.query.weight.grad.abs().sum() > 0
    assert network.affinity_head.weight.grad.abs().sum() > 0


def test_maps_carry_no_gradient() -> None:
    output = create_model("mit_nano", 3)(torch.randn(1, 3, 64, 64))
    assert not output.cam.requires_grad
    assert output.class_logits.requires_grad
    assert output.seg_logits.requires_grad


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_poolings(pooling) -> None:
    network = create_model("mit_nano", 3, pooling=pooling).eval()
    images = torch.randn(1, 3, 64, 64)
    features = network.encoder(images, attention=False).features[-1]
    pooled = features.amax((2, 3)) if pooling == "max" else features.mean((2, 3))
    torch.testing.assert_close(
        network(images).class_logits, pooled @ network.classifier.weight.flatten(1).T, atol=1e-5, rtol=1e-5
    )


def test_log_sum_exp_lies_between_the_mean_and_the_maximum_of_the_tokens() -> None:
    network = create_model("mit_nano", 3, pooling="log_sum_exp").eval()
    features = 5 * torch.randn(2, 128, 8, 8)
    tokens = network.classifier(features).flatten(2)
    pooled = network.classify(features)
    assert (tokens.mean(dim=2) < pooled).all()
    assert (pooled < tokens.amax(dim=2)).all()
    sharper = create_model("mit_nano", 3, pooling="log_sum_exp", sharpness=3.0)
    sharper.load_state_dict(network.state_dict())
    assert (sharper.classify(features) > pooled).all()


@torch.no_grad()
def test_bf16_autocast_stays_close() -> None:
    network, images = create_model("mit_nano", 3).eval(), torch.randn(2, 3, 64, 64)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    torch.testing.assert_close(rough.class_logits.float(), exact.class_logits, atol=0.1, rtol=0.1)
    torch.testing.assert_close(rough.affinity, exact.affinity, atol=0.1, rtol=0.1)


def test_one_pass_has_the_maps_of_photos_and_mirror_images() -> None:
    model, images = reference_network(), torch.randn(2, 3, 48, 80)
    both, affinity = model.activate(images, mirror=True, affinity=True)
    (alone, pairs), (mirrored, _) = model.activate(images, affinity=True), model.activate(images.flip(-1))
    torch.testing.assert_close(both, torch.cat([alone, mirrored]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(affinity.dense(), pairs.dense(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"backbone": "mit_b0", "drop_path_rate": 0.0}, True),
        ({"backbone": "mit_b0", "drop_path_rate": 0.1}, False),
        ({"backbone": "mit_nano", "drop_path_rate": 0.0}, False),  # batch norm in the stem
        ({"backbone": "deit_tiny_patch16_224", "drop_path_rate": 0.0}, True),
        ({"backbone": "deit_tiny_patch16_224", "drop_path_rate": 0.1}, False),
        ({"backbone": "test_convnext", "drop_path_rate": 0.0}, True),
        ({"backbone": "resnet18", "drop_path_rate": 0.0}, False),  # batch norm
    ],
)
def test_a_forward_pass_is_reused_where_it_equals_a_cam_pass(settings, same) -> None:
    network, images = create_model(num_classes=2, decoder_width=8, **settings), torch.randn(2, 3, 64, 64)
    assert network.forward_activates() == same
    output, (cam, affinity) = network(images), network.activate(images, affinity=True)
    if same:
        torch.testing.assert_close(output.cam, cam)
        torch.testing.assert_close(output.affinity.detach(), affinity.dense())
    network.cam_in_training_mode = True
    assert not network.forward_activates()
    assert network.eval().forward_activates()


@pytest.mark.parametrize("backbone", ["mit_b0", "mit_nano", "deit_tiny_patch16_224", "resnet18"])
def test_a_pass_fuses_all_attention_and_multiplies_no_queries_with_keys(backbone) -> None:
    network = create_model(backbone, 2, decoder_width=8)
    with Operators() as found:
        output = network(torch.randn(1, 3, 64, 64))
    assert not [name for name in found.names if "softmax" in name or name == "bmm"]
    assert [part.shape[:2] for part in output.pairs[:2]] == 2 * [(1, network.grid(64, 64).height ** 2)]


@torch.no_grad()
def test_segmentation_alone_equals_the_forward_pass() -> None:
    model, images = reference_network(), torch.randn(1, 3, 48, 64)
    assert torch.equal(model.segment(images), model(images).seg_logits)


def test_traces_into_one_graph(dynamo) -> None:
    network, images = create_model("mit_nano", 3).eval(), torch.randn(1, 3, 64, 64)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        for pair in zip(compiled(images), network(images), strict=True):
            torch.testing.assert_close(*pair)
    assert dynamo["unique_graphs"] == 1
