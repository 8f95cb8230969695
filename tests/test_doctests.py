"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import tests.commands  # noqa: F401  loads the commands without their warning
import torch

import afa_wsss


def examples() -> list[doctest.DocTest]:
    names = ["afa_wsss", *(found.name for found in pkgutil.walk_packages(afa_wsss.__path__, "afa_wsss."))]
    modules = [importlib.import_module(name) for name in names]
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules for test in finder.find(module) if test.examples]
    return list({test.name: test for test in found}.values())


EXAMPLES = examples()


def test_the_public_calls_have_examples():
    names = " ".join(test.name for test in EXAMPLES)
    for call in ("create_model", "refine", "affinity_loss", "balanced_cross_entropy", "labels_from_cam", "LossTerm"):
        assert call in names
    for call in ("locality_mask", "affinity_labels", "transition_matrix", "propagate", "dense_crf", "multi_scale_cam"):
        assert call in names


@pytest.mark.parametrize("example", EXAMPLES, ids=[test.name for test in EXAMPLES])
def test_example(example):
    example.globs |= {"torch": torch, "np": np}
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=output.append)
    assert result.attempted
    assert not result.failed, "".join(output)
