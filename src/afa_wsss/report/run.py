"""A run as the report needs it, beside its scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from afa_wsss.report.stages import BRANCH
from afa_wsss.types import WALK_LABELS


class RunInfo(NamedTuple):
    """A run, beside its scores.

    Attributes:
        name: Title of the page.
        class_names: Foreground classes.
        palette: (k + 1, 3) RGB in 0-255, background first.
        stages: Prediction stages in the order of the method, e.g. ``("cam", "cam_par", "walk", "segmentation")``.
        losses: Names of the loss table in its order; empty where nothing was trained.
        marks: First step of each phase of training by its title.
        facts: What and value, shown at the head of the page after the scores, e.g. ``("backbone", "mit_b1")``.
        settings: YAML, shown folded away.
        thresholds: Settings that give less foreground where they are higher, by full name, and their values.
        config: All settings as plain data: warnings name the values of those that they advise to change.
        trained: Loss terms that have trained the network for a while, by each target that they need, e.g.
            ``{"pseudo_label": "segmentation"}``: warnings judge nothing else. None where nothing is known of the
            training: all is judged.
        pending: Targets that loss terms will need later in the training.
        begun: Titles of ``marks`` that the training has passed for a while; None where nothing is known of it: all.
        not_finite: Steps, from 0, that were left out because a loss or gradient was not finite.
        never_begun: First steps of the loss terms that would have begun after the last step, by name.
        walk_never_begins: First step of the walk's labels where that is after the last step; else None.
    """

    name: str
    class_names: Sequence[str]
    palette: NDArray[np.uint8]
    stages: Sequence[str]
    losses: Sequence[str]
    marks: Mapping[str, int]
    facts: Sequence[tuple[str, str]]
    settings: str
    thresholds: Mapping[str, float] = {}
    config: Mapping[str, Any] = {}
    trained: Mapping[str, str] | None = None
    pending: Collection[str] = ()
    begun: Collection[str] | None = None
    not_finite: Sequence[int] = ()
    never_begun: Mapping[str, int] = {}
    walk_never_begins: int | None = None

    @property
    def label_stage(self) -> str | None:
        """The stage of the label maker that trains the branch; before the walk's labels begin, the one before it."""
        made = list(takewhile(lambda name: name != BRANCH, self.stages))
        if "walk" in made[1:] and self.begun is not None and WALK_LABELS not in self.begun:
            return made[made.index("walk") - 1]
        return made[-1] if made else None

    @property
    def is_gated(self) -> bool:
        """Whether classes that the class branch finds absent are left out of the branch's labels."""
        return self.config.get("inference", {}).get("gate") not in (None, "none")
