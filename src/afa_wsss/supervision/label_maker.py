"""The seam for label makers: what turns image labels into the targets of the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from afa_wsss.inference.views import Viewed
from afa_wsss.types import AFAOutput, AffinityPairs, Batch, Labels, Targets


@runtime_checkable
class Network(Protocol):
    """What a label maker may ask of the network; ``afa_wsss.models.AFA`` is one."""

    num_classes: int

    def activate(
        self, images: Tensor, *, affinity: bool = False, mirror: bool = False
    ) -> tuple[Tensor, AffinityPairs | Tensor | None]:
        """Class activation maps, and the affinity if asked for: see ``AFA.activate``."""

    def forward_activates(self) -> bool:
        """Whether a forward pass gives the maps and affinity of ``activate``: see ``AFA.forward_activates``."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token grid of an image of that size."""


class LabelMaker(ABC):
    """Makes targets from image labels. AFA's is ``AFALabels``; docs/extending.md writes another in 30 lines.

    A subclass is a frozen dataclass: its fields are its settings, checked in ``__post_init__``.

    Attributes:
        makes: Names of the fields of ``Targets`` (or of ``Targets.others``) that ``targets`` fills beside those that
            every batch holds. A loss term that needs another one is an error before training starts.
        needs_masks: Whether ``targets`` reads the masks of training photos; they are loaded only then, and a photo
            without one is an error before training starts. False for weak supervision.
        reads_seg_logits: Whether ``targets`` reads ``output.seg_logits``: see ``LossTerm``.
        memory: What it learns from the batches of training, as buffers of a module: moved, saved and resumed with the
            network. None where every batch stands for itself. With several processes every batch begins with the
            buffers of the first one: ``ops.processes.sum_over_processes`` adds up what all of them saw.
    """

    makes: ClassVar[tuple[str, ...]] = ("pseudo_label",)
    needs_masks: ClassVar[bool] = False
    reads_seg_logits: ClassVar[bool] = True
    memory: nn.Module | None = None

    @abstractmethod
    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """What the losses compare at a training step. Called only at steps at which a term needs what it makes.

        Args:
            network: In training mode.
            batch: Photos, image labels and boxes; masks are None in training unless ``needs_masks``.
            images: The photos of ``batch``, normalized.
            output: ``network(images)``, with gradient.
            step: Training step, from 0.

        Returns:
            Targets without gradient, as ``Targets.of(batch, pseudo_label=...)`` makes them.
        """

    @abstractmethod
    def stages(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput
    ) -> dict[str, Labels]:
        """Pixel labels after each prediction stage, by name, in the order of the method; scored in validation.

        The same stages of all photos, of those without a class too. Any names but those of the branch's stages:
        ``segmentation``, ``par`` and ``crf``. Pixels of 255 are unknown and wrong in the scores: show a stage at one
        background score to compare it with others.

        The last one is what ``afa-pseudo-label`` writes. Arguments are those of ``targets``; the network is in
        evaluation mode, or ``afa_wsss.inference.Views`` stand for it, which remember its passes over ``images``. They
        are planned by the label maker's field ``cam_scales``, where it has one; ``output`` is then computed when it is
        read.
        """

    @property
    def learns_from_masks(self) -> bool:
        """Whether masks of held-out photos come to ``look`` in training; else none is read, as in weak supervision."""
        return False

    def wants_look(self, *, step: int) -> bool:
        """Whether to look at held-out photos before a training step that needs labels; the same in all processes."""
        return False

    def look(self, network: Viewed, batches: Iterable[Batch], *, step: int) -> None:
        """Learns from held-out photos with masks. Called only where ``learns_from_masks``, in every process.

        Args:
            network: In evaluation mode.
            batches: The photos of this process, perhaps none, each batch of one size; masks are of their photos' size.
            step: The training step that follows, from 0.
        """
        raise NotImplementedError(f"{type(self).__name__} says that it learns from masks: define look()")

    def marks(self) -> dict[str, int]:
        """Training steps at which a phase begins, by a short title; the charts of the report show them."""
        return {}

    def thresholds(self, *, step: int) -> dict[str, float]:
        """Settings that decide at a training step how much is foreground, by name; higher values give less of it.

        The report names them where labels call nearly all pixels the same; {} where there are none.
        """
        return {}


def is_training(network: Network) -> bool:
    """Whether labels are made for a training step; else for validation or prediction, from which nothing is learned."""
    return isinstance(network, nn.Module) and network.training
