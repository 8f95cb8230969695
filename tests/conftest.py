"""What all tests share: shapes checked at run time, photos, a small set, golden data, an empty hub, one seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from jaxtyping import install_import_hook

# Before any test module imports the package: every annotated shape is checked at each call. Users never pay for this.
# As for Python's type checkers, an int passes where a float is wanted (the "tower").
install_import_hook("afa_wsss", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

TESTS = Path(__file__).parent
VOC_MINI = TESTS.parents[1] / "shared" / "voc_mini" / "VOC2012"

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that workers who share the rest end together; those of two processes in one worker."""

    def rank(item: pytest.Item) -> int:
        return 0 if item.get_closest_marker("ddp") else 1 if item.get_closest_marker("slow") else 2

    items.sort(key=lambda item: rank(item) if item.path.suffix != ".ipynb" else 1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Mapping[str, Any]]:
    """``golden("par")`` reads ``tests/golden/par.npz``."""
    return lambda name: np.load(TESTS / "golden" / f"{name}.npz")


@pytest.fixture(scope="session")
def voc_mini() -> Path:
    """Root of the sample photos of PASCAL VOC; the test skips where they are absent."""
    if not VOC_MINI.is_dir():
        pytest.skip("the sample photos of ../shared/voc_mini are not here")
    return VOC_MINI


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of PartShapes, drawn once for the tests of a file."""
    from tests.commands import write_small_set  # loads all commands

    return write_small_set(tmp_path_factory.mktemp("partshapes"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network: what ``HF_HUB_CACHE`` and ``HF_HUB_OFFLINE=1`` set on import."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def dynamo() -> Iterator[Mapping[str, int]]:
    """What ``torch.compile`` counts, ``unique_graphs`` among it. Nothing is compiled before, and nothing stays after.

    Shapes are not checked meanwhile: dynamo cannot trace the checks, and users have none.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters["stats"]
    torch._dynamo.reset()
    jaxtyping.config.update("jaxtyping_disable", False)
