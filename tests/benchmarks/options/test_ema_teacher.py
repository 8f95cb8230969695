"""Labels of a moving average: the average itself, what it labels, and what it leaves alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from benchmarks.options.ema_teacher import MovingAverage, warm_decay

from afa_wsss.errors import UserError
from afa_wsss.ops.image import normalize
from afa_wsss.supervision import AFALabels, NoRefinement
from benchmarks.options import EMATeacherLabels

SETTINGS = {"low": 0.2, "high": 0.5, "first_step": 0, "walk_first_step": None, "refinement": NoRefinement()}


def shaken(network):
    """Another network of the same kind in its place."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    return network


def values(network):
    return [parameter.detach().numpy().astype(np.float64) for parameter in network.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.99])
def test_average_equals_its_definition(network, decay) -> None:
    average = MovingAverage()
    average.follow(network, step=7, decay=decay)
    wanted = values(network)
    for updates in range(1, 5):
        shaken(network)
        kept = min(decay, (1 + updates) / (10 + updates))
        wanted = [kept * mean + (1 - kept) * own for mean, own in zip(wanted, values(network), strict=True)]
        found = average.follow(network, step=7 + updates, decay=decay)
        again = average.follow(network, step=7 + updates, decay=decay)  # another batch of the same step
        assert again is found
        for mean, expected in zip(values(found), wanted, strict=True):
            np.testing.assert_allclose(mean, expected, atol=1e-5)
        assert all(torch.equal(*pair) for pair in zip(found.buffers(), network.buffers(), strict=True))
    assert average.updates == 4


def test_the_first_average_is_a_copy_without_gradient(network) -> None:
    found = MovingAverage().follow(network, step=3, decay=0.9)
    assert found is not network
    assert not found.training
    assert network.training
    for mean, own in zip(found.parameters(), network.parameters(), strict=True):
        assert torch.equal(mean, own)
        assert not mean.requires_grad
        assert own.requires_grad
        assert mean.data_ptr() != own.data_ptr()


def test_decay_is_warm_after_a_while() -> None:
    assert warm_decay(0.99, 0) == 0.1
    assert warm_decay(0.99, 10**6) == 0.99


def targets_of(maker, network, batch, step):
    images = normalize(batch.images)
    return maker.targets(network, batch, images, network(images), step=step)


def equal(found, wanted) -> bool:
    return torch.equal(found.pseudo_label, wanted.pseudo_label) and torch.equal(
        found.pair_labels.tokens, wanted.pair_labels.tokens
    )


def test_targets_are_those_of_the_average(network, batch) -> None:
    maker, plain = EMATeacherLabels(decay=0.999, **SETTINGS), AFALabels(**SETTINGS)
    first = targets_of(maker, network, batch, 0)
    student = copy.deepcopy(network).eval()  # a pass in training mode moves the statistics of batch norm
    assert equal(first, targets_of(plain, student, batch, 0))
    shaken(network)
    second = targets_of(maker, network, batch, 1)
    assert equal(second, targets_of(plain, maker.average.network, batch, 1))
    assert not equal(second, targets_of(plain, network.eval(), batch, 1))


@pytest.mark.parametrize("of_teacher", [False, True])
def test_stages_are_those_of_the_student_unless_told_otherwise(network, batch, of_teacher) -> None:
    maker = EMATeacherLabels(teacher_in_validation=of_teacher, **SETTINGS)
    images, plain = normalize(batch.images), AFALabels(**SETTINGS)

    def stages(of, of_maker):
        return of_maker.stages(of, batch, images, of.eval()(images))

    def same(found, wanted):
        return all(torch.equal(found[name].labels, wanted[name].labels) for name in ("cam", "walk"))

    with torch.no_grad():
        assert same(stages(network, maker), stages(network, plain))  # there is no average yet
        targets_of(maker, network.train(), batch, 0)
        shaken(network)
        found = stages(network, maker)
        assert same(found, stages(maker.average.network if of_teacher else network, plain))
        assert not same(stages(network, plain), stages(maker.average.network, plain))


def test_a_network_that_is_not_in_training_moves_nothing(network, batch) -> None:
    maker = EMATeacherLabels(**SETTINGS)
    targets_of(maker, network.eval(), batch, 0)
    assert maker.average.network is None


def test_the_average_is_no_setting(network) -> None:
    maker = EMATeacherLabels(**SETTINGS)
    maker.average.follow(network, step=0, decay=0.9)
    assert maker == EMATeacherLabels(**SETTINGS)
    assert "average" not in repr(maker)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_is_checked(decay) -> None:
    with pytest.raises(UserError, match=r"need 0 <= decay < 1, got") as error:
        EMATeacherLabels(decay=decay)
    assert error.value.arguments == ("decay",)


def test_a_network_of_another_kind_is_refused(batch) -> None:
    with pytest.raises(UserError, match="to average, got Linear"):
        EMATeacherLabels().targets(torch.nn.Linear(1, 1), batch, batch.images.float(), None, step=0)


def test_the_command_trains_and_its_checkpoint_holds_the_student_alone(train_option) -> None:
    metrics, folder = train_option("ema")
    assert {"val/miou", "val/cam_best_miou", "val/walk_miou", "train/segmentation_loss"} <= set(metrics)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert not [name for name in state["state_dict"] if "average" in name]
    assert "average" not in (folder / "config.yaml").read_text()
    assert "EMATeacherLabels" in (folder / "config.yaml").read_text()
