"""The average of weights: its arithmetic, steps that are left out, and labels that are the average's alone."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from tests.training.module.modules import WALK, make_module
from tests.training.test_two_processes import whole_batch

from afa_wsss.errors import UserError
from afa_wsss.models import create_model
from afa_wsss.ops.image import normalize
from afa_wsss.supervision.label_maker import is_training
from afa_wsss.training.module import AFAModule
from afa_wsss.training.trainer import TrainerSettings
from afa_wsss.training.weight_average import LABELS, VALIDATION, WeightAverage, warm_decay

DECAY = 0.7


@pytest.fixture
def network():
    return create_model("mit_nano", num_classes=2, decoder_width=16).train()


def moved(network):
    """The weights of another step, batch norms of another batch."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
        network(torch.randn(2, 3, 32, 32))
    return copy.deepcopy(network.state_dict())


def test_the_average_is_that_of_the_formula_with_statistics_of_batch_norms(network):
    average = WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    expected = copy.deepcopy(network.state_dict())
    for step in range(1, 7):
        weights = moved(network)
        average.update(network)
        share = warm_decay(DECAY, step)
        for name, value in weights.items():
            if value.is_floating_point():
                expected[name] = share * expected[name] + (1 - share) * value
            else:
                expected[name] = value
    assert any("running_mean" in name for name in expected)
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("updates", [1, 4])
def test_a_step_that_is_left_out_moves_nothing(network, updates):
    average = WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    for _ in range(updates):
        moved(network)
        average.update(network, left_out=torch.tensor(False))
    before = copy.deepcopy(average.network.state_dict())
    moved(network)
    average.update(network, left_out=torch.tensor(True))
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_that_cannot_be_copied_is_named(network):
    network.encoder.last = network(torch.randn(1, 3, 64, 64)).class_logits
    with pytest.raises(UserError, match="need a network that can be copied for an average of its weights") as refused:
        WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    assert refused.value.arguments == ("trainer.ema_decay",)


def test_an_average_goes_on_from_its_state(network):
    average = WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    for _ in range(3):
        moved(network)
        average.update(network)
    other = WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    other.load(copy.deepcopy(average.state()))
    moved(network)
    for one in (average, other):
        one.update(network)
    for name, value in average.network.state_dict().items():
        assert torch.equal(other.network.state_dict()[name], value)


@pytest.mark.parametrize("left_out", [None, torch.tensor(True)])
def test_a_step_waits_for_no_gpu(network, left_out):
    average = WeightAverage(network, decay=DECAY, uses=[VALIDATION])
    with imagined_gpu() as move:
        average.network = move(average.network)
        average.update(move(network), left_out=move(left_out))
        assert {one.device.type for one in average.network.parameters()} == {"cuda"}


class Asked(Exception):  # noqa: N818  it is no error
    """Ends a step where labels would be made."""


def asked(module, batch):
    """What the label maker is asked with at a step."""
    found = {}

    def targets(network, batch, images, output, *, step):
        found.update(network=network, output=output, training=is_training(network))
        raise Asked

    object.__setattr__(module.label_maker, "targets", targets)
    with pytest.raises(Asked):
        module.training_step(batch, 0)
    object.__delattr__(module.label_maker, "targets")
    return found


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(AFAModule, "global_step", WALK)
    monkeypatch.setattr(AFAModule, "log_dict", lambda *_, **__: None)
    module = make_module()
    module.average = WeightAverage(module.network, decay=DECAY, uses=[LABELS])
    moved(module.network)
    return module


def test_labels_are_made_of_the_average_and_of_its_own_output(module):
    batch = whole_batch()
    found, average = asked(module, batch), module.average.network
    assert found["network"] is average
    assert found["training"]  # thresholds that are found while training are found
    assert not any(part.training for part in average.modules())
    expected = average(normalize(batch.images)).cam
    torch.testing.assert_close(found["output"].cam, expected)
    assert not found["output"].class_logits.requires_grad


def test_labels_follow_the_average_and_not_the_student(module):
    batch, images = whole_batch(), normalize(whole_batch().images)
    terms = dict(module.losses.items())

    def labels():
        with torch.no_grad():
            return module.supervise(batch, images, module.network(images), terms).pseudo_label

    first = labels()
    moved(module.network)
    assert torch.equal(labels(), first)
    module.average.uses = (VALIDATION,)
    assert not torch.equal(labels(), first)


def test_each_use_has_its_network(module):
    trained, average = module.network, module.average.network
    uses = {(VALIDATION,): (average, trained), (LABELS,): (trained, average), (VALIDATION, LABELS): (average, average)}
    for names, (validated, labeling) in uses.items():
        module.average.uses = names
        assert module.validated_network is validated
        assert module.labeling_network is labeling
    module.average = None
    assert module.validated_network is module.labeling_network is trained


def test_the_average_is_not_trained_or_saved_with_the_module(module):
    names = [name for name, _ in module.named_parameters()]
    assert not any("average" in name for name in names)
    assert not any(parameter.requires_grad for parameter in module.average.network.parameters())


@pytest.mark.parametrize(
    ("settings", "message", "argument"),
    [
        ({"ema_decay": 1.0}, "need an ema_decay above 0 and below 1, got 1.0", "ema_decay"),
        ({"ema_decay": 0.9, "ema_for": ("both",)}, "need ema_for to be [validation], [labels] or both", "ema_for"),
        ({"ema_decay": 0.9, "ema_for": ()}, "need ema_for to be [validation], [labels] or both, got []", "ema_for"),
        ({"ema_for": ("labels",)}, "need an ema_decay for ema_for=[labels], got none", "ema_decay"),
    ],
)
def test_impossible_settings_name_their_argument(settings, message, argument):
    with pytest.raises(UserError) as error:
        TrainerSettings(**settings)
    assert str(error.value).startswith(message)
    assert error.value.arguments == (argument,)
