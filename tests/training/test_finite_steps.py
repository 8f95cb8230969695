from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from tests.imagined_gpu import imagined_gpu
from tests.two_processes import in_two_processes
from torch import nn

from afa_wsss.errors import UserError
from afa_wsss.supervision.found_thresholds import FoundThresholds, Look
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.training.finite_steps import TOTAL, FiniteSteps, Seen, first_not_finite

OPTIMIZERS = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
    "fused adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "fused sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
}


class Steps:
    """A layer with batch norm, trained on random numbers; ``spoilt`` batches hold NaN, or give an infinite gradient."""

    def __init__(self, kind, allowed=0):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.optimizer = OPTIMIZERS[kind](self.module.parameters())
        self.steps = FiniteSteps(self.module, allowed=allowed)

    def take(self, values, *, loss=1.0, gradient=0.0, scaler=None):
        self.steps.keep_buffers()
        self.optimizer.zero_grad()
        total = self.module(values).square().mean() * loss
        (total if scaler is None else scaler.scale(total)).backward()
        self.module[0].weight.grad += gradient
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        found = self.steps.decide(self.optimizer, [Seen(("a", "b"), {TOTAL: total})], scaler)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        self.steps.finish(self.optimizer)
        return found

    def state(self):
        state = [value.clone() for value in self.module.state_dict().values()]
        moments = [value for one in self.optimizer.state.values() for value in one.values()]
        return state + [value.clone() for value in moments if isinstance(value, torch.Tensor)]


def equal(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


SPOILT = {"loss": {"loss": math.nan}, "infinite loss": {"loss": math.inf}, "gradient": {"gradient": math.inf}}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT.keys())
def test_steps_that_are_not_finite_might_never_have_been(kind, spoilt):
    """Weights, moments, counts of steps, batch norm's means: to the bit those of a run without these steps."""
    batches = [torch.randn(5, 3) for _ in range(3)]
    one, other = Steps(kind, allowed=2), Steps(kind, allowed=2)
    for batch in batches:
        one.take(batch)
    for index, batch in enumerate(batches):
        if index:
            found = [other.take(batch + 9, **spoilt).report() for _ in range(2)]
            assert [report.streak for report in found] == [1, 2]
            assert all(report.left_out and not report.over for report in found)
        assert not other.take(batch).report().left_out
    assert equal(one.state(), other.state())


def test_photos_that_are_not_finite_leave_batch_norm_alone():
    steps = Steps("fused adamw")
    steps.take(torch.randn(5, 3))
    before = steps.state()
    assert steps.take(torch.full((5, 3), math.nan)).report().over
    assert equal(steps.state(), before)


def test_a_step_that_is_abandoned_leaves_batch_norm_alone():
    steps = Steps("adamw")
    steps.take(torch.randn(5, 3))
    before = steps.state()
    steps.steps.abandon()
    assert equal(steps.state(), before), "between two steps there is nothing to take back"
    steps.steps.keep_buffers()
    steps.module(torch.randn(5, 3))
    steps.steps.abandon()
    assert equal(steps.state(), before)


def test_nothing_is_trained_after_too_many_in_a_row():
    """The host learns of them one step later."""
    steps = Steps("fused adamw", allowed=1)
    steps.take(torch.randn(5, 3))
    before = steps.state()
    reports = [steps.take(torch.randn(5, 3), loss=loss).report() for loss in (math.nan, math.nan, 1.0)]
    assert [report.over for report in reports] == [False, True, True]
    assert equal(steps.state(), before)


def test_a_report_names_losses_photos_and_gradients():
    steps = Steps("adamw")
    report = steps.take(torch.randn(5, 3), gradient=math.nan).report()
    ((photos, losses),) = report.batches
    assert photos == ("a", "b")
    assert math.isfinite(losses[TOTAL])
    assert [name for name, value in report.gradients.items() if not math.isfinite(value)] == ["0.weight"]
    weight = steps.module[2].weight
    assert report.gradients.keys() == dict(steps.module.named_parameters()).keys()
    assert weight.grad is None, "the optimizer was asked without gradients"


def test_a_gradient_scaler_finds_its_scale_and_is_no_error():
    steps, scaler = Steps("adamw"), torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=10**6)
    found = [steps.take(torch.randn(5, 3), gradient=math.inf, scaler=scaler).report() for _ in range(3)]
    assert [report.left_out for report in found] == [False, False, True], "at scales of 4, 2 and 1"
    steps, scaler = Steps("adamw"), torch.amp.GradScaler("cpu")
    assert steps.take(torch.randn(5, 3), loss=math.nan, scaler=scaler).report().left_out, "no scale helps a loss"


def test_a_gpu_is_not_waited_for(monkeypatch):
    """Everything but the passes and the step, which are torch's own."""
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None))
    module = Steps("fused adamw").module
    with imagined_gpu() as move:
        module = move(module)
        optimizer, steps = OPTIMIZERS["fused adamw"](module.parameters()), FiniteSteps(module, allowed=0)
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        steps.keep_buffers()
        found = steps.decide(optimizer, [Seen(("a",), {TOTAL: torch.zeros((), device="cuda")})])
        assert optimizer.found_inf.device.type == "cuda"
        steps.finish(optimizer)
        assert found.values.device.type == "cpu"


def alone(rank):
    """Only one of the processes has a loss that is not finite."""
    steps = Steps("adamw", allowed=1)
    before = steps.state()
    reports = [steps.take(torch.randn(5, 3), loss=math.nan if rank == 1 else 1.0).report() for _ in range(2)]
    state = [report.left_out + 2 * report.over for report in reports]
    return {"state": torch.tensor(state), "same": torch.tensor(equal(steps.state(), before))}


@pytest.mark.ddp
@pytest.mark.slow
def test_all_processes_leave_out_the_same_steps(tmp_path):
    for found in in_two_processes(alone, tmp_path):
        assert found["state"].tolist() == [1, 3]
        assert found["same"]


@pytest.mark.parametrize(("persistent", "first"), [(True, None), (True, torch.zeros(2)), (False, torch.zeros(2))])
def test_a_stored_buffer_that_a_step_makes_or_resizes_is_refused(persistent, first):
    """No resumed run could load it; a cache that is not stored may have the size of the images."""
    steps = Steps("adamw")
    steps.module[0].register_buffer("memory", first, persistent=persistent)

    def take():
        steps.steps.keep_buffers()
        steps.module[0].memory = torch.ones(3)
        steps.steps.decide(steps.optimizer, [Seen(("a",), {TOTAL: torch.ones(())})])
        steps.steps.finish(steps.optimizer)

    if persistent:
        with pytest.raises(UserError, match=r"got 0\.memory of shape \(3,\), before this step (none|\(2,\)); register"):
            take()
    else:
        take()
        assert steps.module[0].memory.tolist() == [1, 1, 1]


def test_the_first_tensor_that_is_not_finite():
    good, bad = torch.ones(2), torch.tensor([1.0, math.nan])
    assert first_not_finite({"a": good, "b": torch.ones(2, dtype=torch.long), "c": torch.empty(0)}) is None
    assert first_not_finite({"a": good, "b": bad, "c": bad}) == "b"
    assert first_not_finite({"layer.weight": torch.tensor([-math.inf]).half()}) == "layer.weight"


def test_a_buffer_may_hold_infinity_from_the_start():
    """As a mask of attention does; in weights and statistics of batch norm it is wrong."""
    mask = torch.tensor([0, -math.inf])
    assert first_not_finite({"mask": mask, "layer.weight": torch.ones(2)}) is None
    assert first_not_finite({"mask": torch.tensor([-math.inf, math.nan])}) == "mask"
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert first_not_finite({"mask": mask, f"layer.{name}": mask}) == f"layer.{name}"


def test_a_look_of_a_step_that_is_left_out_counts_for_nothing():
    """Background scores are what the buffers say again, on the host too."""
    steps = Steps("adamw", allowed=2)
    steps.module.append(FoundThresholds())
    steps.steps, memory = FiniteSteps(steps.module, allowed=2), steps.module[-1]
    steps.module = steps.module[:3]
    squares = torch.linspace(0, 1, len(CANDIDATES)).repeat(2, 1)
    look = Look(1 - (squares - 0.3).square(), squares.flip(1))
    before = memory.values("cam")
    steps.steps.keep_buffers()
    memory.update(look, None)
    assert memory.values("cam") != before
    steps.optimizer.zero_grad()
    loss = steps.module(torch.randn(5, 3)).mean() * math.nan
    loss.backward()
    steps.steps.decide(steps.optimizer, [Seen(("a",), {TOTAL: loss})])
    steps.optimizer.step()
    steps.steps.finish(steps.optimizer)
    assert (memory.values("cam"), int(memory.looks[0])) == (before, 0)
