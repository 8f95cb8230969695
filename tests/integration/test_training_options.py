"""Each way to train that is one word: it trains, alone and together with others, to finite losses and weights."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from tests.commands import trained_run, write_small_set

WORDS = {
    "bf16": ["trainer.precision=bf16-mixed"],
    "fp16": ["trainer.precision=16-mixed"],
    "accumulation": ["trainer.accumulate_grad_batches=2"],
    "clipping": ["trainer.gradient_clip_val=0.1"],
}
"""One override each."""

TOGETHER = [("fp16", "accumulation", "clipping")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_small_set(tmp_path_factory.mktemp("partshapes"))


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def losses(folder):
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize("names", [*[(name,) for name in WORDS], *TOGETHER], ids="+".join)
def test_it_trains_to_finite_losses_and_weights(names, root, tmp_path):
    folder = trained_run(root, tmp_path / "run", *(word for name in names for word in WORDS[name]))
    found = losses(folder)
    assert len(found) == 4
    assert all(math.isfinite(loss) for loss in found)
    assert all(bool(value.isfinite().all()) for value in state(folder)["state_dict"].values())
