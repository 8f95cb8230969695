from __future__ import annotations

import random

import numpy as np
import torch
from tests.two_processes import in_two_processes

from afa_wsss.evaluation.label_shares import LabelShares
from afa_wsss.training.module import AFAModule
from afa_wsss.training.run_state import of_all_processes, process_state, restore, start_anew


class Module(AFAModule):
    """What a state is read from."""

    device = torch.device("cpu")

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.label_shares = LabelShares(2)


def drawn():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(2).tolist()  # noqa: NPY002


def stored(state, path):
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def test_generators_and_counts_go_on(tmp_path):
    module = Module()
    module.label_shares.update(torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8), torch.tensor([[0, 2, 0, 2]]))
    np.random.randn()  # noqa: NPY002  the generator keeps a second number for later
    states = of_all_processes(process_state(module))
    python = random.Random()
    python.setstate(states[0]["python"])  # the checks of shapes, which only tests have, draw from the global one
    expected = (python.random(), *drawn()[1:])
    kept = stored(states, tmp_path / "state.pt")
    other = Module()
    restore(other, kept[0])
    assert drawn() == expected
    assert other.label_shares.update_called
    assert other.label_shares.counts.tolist() == [1, 2, 0, 1]


def test_a_copy_does_not_change_with_the_counts():
    module = Module()
    state = process_state(module)
    module.label_shares.counts += 1
    assert state["label_shares"][0].tolist() == [0, 0, 0, 0]


def test_new_generators_differ_by_step_and_process():
    seen = set()
    for step, rank in ((1, 0), (1, 1), (2, 0)):
        start_anew(seed=0, step=step, rank=rank)
        seen.add(str(drawn()))
    assert len(seen) == 3


def _states(rank):
    torch.manual_seed(rank)
    found = of_all_processes(process_state(Module()))
    return torch.stack([state["torch"] for state in found])


def test_states_of_two_processes(tmp_path):
    first, second = in_two_processes(_states, tmp_path)
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
