"""AFA's label maker: CAM, random walk, refinement, two thresholds (AFA, sections 3.2-3.4 and 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from afa_wsss.errors import UserError
from afa_wsss.inference.multi_scale import CAM_SCALES, check_scales
from afa_wsss.inference.views import Viewed, Views
from afa_wsss.ops.affinity import token_labels
from afa_wsss.ops.image import normalize, truncated
from afa_wsss.ops.pseudo_label import argmax_labels, cam_labels
from afa_wsss.ops.random_walk import ALPHA, STEPS
from afa_wsss.supervision.candidates import compare_candidates, look_at_candidates
from afa_wsss.supervision.found_thresholds import FoundThresholds, resolved
from afa_wsss.supervision.label_maker import LabelMaker, Network, is_training
from afa_wsss.supervision.labels import labels_from_cam, labels_from_walk
from afa_wsss.supervision.maps import Maps, check_maps, make_maps
from afa_wsss.supervision.par import PAR
from afa_wsss.supervision.refinement import NoRefinement, Refinement, Refiner
from afa_wsss.supervision.score_curves import CANDIDATES
from afa_wsss.supervision.scores import Walk, cam_scores, walk_scores
from afa_wsss.supervision.threshold_checks import check_found, check_pair, check_scores, check_source, check_walk
from afa_wsss.supervision.thresholds import AUTO, PAPER, Threshold, Thresholds
from afa_wsss.types import WALK_LABELS, AFAOutput, Batch, Labels, Targets

ALWAYS, BETTER = "always", "better"
"""When the walk makes labels, from its first step on."""


@dataclass(frozen=True)
class AFALabels(LabelMaker):
    """Thresholds, walk, refinement, and the steps from which each kind of label is made (AFA, section 4.1).

    Attributes:
        low: Background score beta_l in [0, 1], or ``auto`` to have it found while training: see ``FoundThresholds``.
            The other background scores, those of the walk too, take ``auto`` as well.
        high: Background score beta_h, above ``low``.
        background: The one background score at which validation thresholds labels.
        auto_from: What ``auto`` is found from: ``photos``, the colors of training photos and no mask; or ``masks`` of a
            few held-out photos, at most ``recent_splits.LOOKED_AT``.
        walk_low: beta_l for labels after the walk; None, as in the paper, for ``low``.
        walk_high: beta_h for labels after the walk; None for ``high``.
        walk_background: The one background score of validation after the walk; None for ``background``.
        radius: Window of affinity labels and walk, in tokens (Chebyshev). None for all pairs, whose time and memory
            grow with the square of the tokens; within a radius they grow with the tokens.
        walk_radius: Window of the walk alone; None, as in the paper, for ``radius``.
        alpha: Power of the affinity.
        walk_steps: Steps of the random walk.
        first_step: Training step (from 0) from which losses that need labels count, unless a term says otherwise: the
            loss table refers to it.
        walk_first_step: From this step on the walk makes the labels for segmentation; None for never.
        walk_when: ``always`` to take labels from the walk at every step from ``walk_first_step`` on; ``better`` to take
            them only while they surely split the photos' colors better than labels from the CAM or, with
            ``auto_from=masks``, have a higher mIoU.
        affinity_from_walk: Whether the labels for affinity are also taken from the walk from then on, as on COCO.
        truncate_photos: Whether the refinement gets photos in training as the official code hands them over: see
            ``afa_wsss.ops.image.truncated``.
        cam_scales: Scales of the class activation maps; the largest gives the affinity.
        refinement: How scores are fitted to the photo before they become labels.
    """

    makes = ("pseudo_label", "affinity_label")
    reads_seg_logits = False

    low: Threshold = PAPER.low
    high: Threshold = PAPER.high
    background: Threshold = PAPER.background
    auto_from: str = "photos"
    walk_low: Threshold | None = None
    walk_high: Threshold | None = None
    walk_background: Threshold | None = None
    radius: int | None = 8
    walk_radius: int | None = None
    alpha: float = ALPHA
    walk_steps: int = STEPS
    first_step: int = 2001
    walk_first_step: int | None = 6001
    walk_when: str = ALWAYS
    affinity_from_walk: bool = False
    truncate_photos: bool = False
    cam_scales: tuple[float, ...] = CAM_SCALES
    refinement: Refinement = field(default_factory=PAR)
    memory: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the settings once.

        Raises:
            UserError: For thresholds that are not 0 <= low < high <= 1, and for what is out of its range.
        """
        object.__setattr__(self, "cam_scales", check_scales(self.cam_scales, "cam_scales"))
        check_pair("low", self.low, "high", self.high)
        check_pair("walk_low", self._of_walk("low"), "walk_high", self._of_walk("high"))
        check_scores({"background": self.background, "walk_background": self.walk_background})
        least = {"radius": self.radius, "walk_radius": self.walk_radius, "walk_steps": self.walk_steps}
        check_walk(least, alpha=self.alpha, first_step=self.first_step)
        if self.walk_first_step is not None and self.walk_first_step < self.first_step:
            raise UserError(
                f"need first_step <= walk_first_step, got {self.first_step} and {self.walk_first_step}",
                arguments=("first_step", "walk_first_step"),
            )
        if self.walk_when not in (ALWAYS, BETTER):
            raise UserError(f"need walk_when to be always or better, got {self.walk_when}", arguments=("walk_when",))
        check_source(self.auto_from, finds=self._finds)
        if self._finds:
            object.__setattr__(self, "memory", FoundThresholds(compares_walk=self._compares_walk))

    @property
    def _compares_walk(self) -> bool:
        return self.walk_when == BETTER and self.walk_first_step is not None

    @property
    def _finds(self) -> bool:
        return self._compares_walk or AUTO in (*self._given(), *self._given(of_walk=True))

    @property
    def found(self) -> FoundThresholds | None:
        """What is found while training; None where nothing is: ``memory`` may be a subclass's own then."""
        return check_found(self.memory, owner=type(self).__name__) if self._finds else None

    def _of_walk(self, name: str) -> Threshold:
        """A background score of the walk: its own, or that of the CAM."""
        own: Threshold | None = getattr(self, f"walk_{name}")
        of_cam: Threshold = getattr(self, name)
        return of_cam if own is None else own

    def _given(self, *, of_walk: bool = False) -> tuple[Threshold, ...]:
        """Background scores as they were set, in the order of ``Thresholds``."""
        return tuple(self._of_walk(name) if of_walk else getattr(self, name) for name in Thresholds._fields)

    @property
    def cam_thresholds(self) -> Thresholds:
        """For labels from the CAM, with what was found in place of ``auto``."""
        return resolved(self._given(), self.found, "cam")

    @property
    def walk_thresholds(self) -> Thresholds:
        """For labels after the walk, with what was found for them in place of ``auto``."""
        return resolved(self._given(of_walk=True), self.found, "walk")

    def _walks(self, step: int) -> bool:
        """Whether labels after the walk are looked at, and made unless others are better."""
        return self.walk_first_step is not None and step >= self.walk_first_step

    @property
    def leaves_out_walk(self) -> bool:
        """Whether labels before the walk are the better ones, and ``walk_when`` goes by that."""
        return self.walk_when == BETTER and self.found is not None and not self.found.walk_is_better

    def _takes_walk(self, step: int) -> bool:
        """Whether labels of a training step are those after the walk."""
        return self._walks(step) and not self.leaves_out_walk

    def walk_on(self, grid: tuple[int, int]) -> Walk:
        """The random walk on a token grid."""
        radius = self.radius if self.walk_radius is None else self.walk_radius
        return Walk(grid, radius=radius, alpha=self.alpha, steps=self.walk_steps)

    @property
    def learns_from_masks(self) -> bool:
        """Whether ``auto`` reads the masks of held-out photos."""
        return self.auto_from == "masks"

    def wants_look(self, *, step: int) -> bool:
        """At the first steps and then at every tenth; from photos, at every fifth when the walk begins."""
        if self.found is None:
            return False
        return self.found.wants_look(step, walks=self._walks(step), same_photos=self.learns_from_masks)

    @torch.no_grad()
    def look(self, network: Viewed, batches: Iterable[Batch], *, step: int) -> None:
        """Compares with masks the labels that each candidate for ``auto`` would give, of the kinds of this step."""
        if self.found is None:
            return
        classes = network.num_classes + 1
        found = self.found.looks.new_zeros(1 + self._walks(step), len(CANDIDATES), classes, classes)
        for batch in batches:
            images = normalize(batch.images)
            views = Views(network, images, cam_scales=self.cam_scales)
            maps = self._checked_maps(views, batch, images, views.output())
            for counts, walk in zip(found, (None, self.walk_on(maps.grid)), strict=False):
                counts += compare_candidates(maps, batch, classes=classes, refinement=self.refinement, walk=walk)
        self.found.score(found, given=self._given(), given_walk=self._given(of_walk=True))

    def marks(self) -> dict[str, int]:
        """Where labels from the CAM begin, and those from the walk."""
        walk = {} if self.walk_first_step is None else {WALK_LABELS: self.walk_first_step}
        return {"labels from the CAM": self.first_step} | walk

    def thresholds(self, *, step: int) -> dict[str, float]:
        """The two background scores of training, and that of validation; those of the walk where it has its own."""
        walks = self._takes_walk(step)
        found = self.walk_thresholds if walks else self.cam_thresholds
        own = [name for name in Thresholds._fields if walks and self._is_of_walk(name)]
        return {f"walk_{name}" if name in own else name: getattr(found, name) for name in Thresholds._fields}

    def _is_of_walk(self, name: str) -> bool:
        """Whether a background score of the walk may differ from that of the CAM."""
        return getattr(self, f"walk_{name}") is not None or getattr(self, name) == AUTO

    @torch.no_grad()
    def targets(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput, *, step: int
    ) -> Targets:
        """Pixel labels from the CAM or, from ``walk_first_step`` on, from the walk; affinity labels of the CAM's."""
        maps = self._checked_maps(network, batch, images, output)
        if self.auto_from == "photos" and is_training(network):
            self.learn(maps, batch, step=step)
        height, width = network.grid(*images.shape[-2:])
        return self.targets_from(maps, batch, grid=(height, width), step=step)

    def learn(self, maps: Maps, batch: Batch, *, step: int) -> None:
        """Looks at the labels that each candidate for ``auto`` would give, of the kinds that this step uses."""
        if self.found is None or not self.wants_look(step=step):
            return
        cam, after_walk = look_at_candidates(maps, batch, refinement=self.refinement, walk=None), None
        if self._walks(step):
            after_walk = look_at_candidates(maps, batch, refinement=self.refinement, walk=self.walk_on(maps.grid))
        self.found.update(cam, after_walk, given=self._given(), given_walk=self._given(of_walk=True))

    def maps(self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput) -> Maps:
        """What all labels are made from, in training and validation; a subclass may change it alone."""
        return make_maps(network, batch, images, output, scales=self.cam_scales)

    def _checked_maps(self, network: Network, batch: Batch, images: Tensor, output: AFAOutput) -> Maps:
        """``maps``; those of a subclass are checked."""
        made = self.maps(network, batch, images, output)
        if type(self).maps is not AFALabels.maps:
            check_maps(made, batch, made_by=f"{type(self).__name__}.maps")
        return made

    @torch.no_grad()
    def targets_from(self, maps: Maps, batch: Batch, *, grid: tuple[int, int], step: int) -> Targets:
        """The labels of ``targets`` from maps that are already made; the affinity labels are those of ``grid``."""
        pixels, pairs = self._slot_labels(batch, maps, step=step)
        return Targets.of(
            batch,
            pseudo_label=maps.present.named(pixels),
            affinity_label=token_labels(pairs, grid=grid, radius=self.radius),
        )

    def _slot_labels(
        self, batch: Batch, maps: Maps, *, step: int
    ) -> tuple[UInt8[Tensor, "b H W"], UInt8[Tensor, "b H W"]]:
        """Labels for segmentation and those for affinity, of the slots of ``maps``."""
        photos = batch.images.float() / 255
        photos = truncated(photos) if self.truncate_photos else photos
        refiner = self.refinement.refiner(photos, batch.boxes, full_frames=batch.full_frames)
        present, boxes = maps.present.labels, batch.boxes
        walks = self._takes_walk(step)
        labels = []
        if not (walks and self.affinity_from_walk):
            low, high, _ = self.cam_thresholds
            labels.append(labels_from_cam(photos, maps.cam, present, boxes, low=low, high=high, refiner=refiner))
        if walks:
            (low, high, _), walk = self.walk_thresholds, self.walk_on(maps.grid)
            labels.append(
                labels_from_walk(
                    photos, maps.cam, maps.affinity, present, boxes, low=low, high=high, walk=walk, refiner=refiner
                )
            )
        return labels[-1], labels[0]

    @torch.no_grad()
    def stages(
        self, network: Network, batch: Batch, images: Float[Tensor, "b 3 H W"], output: AFAOutput
    ) -> dict[str, Labels]:
        """``cam``, ``cam_<refinement>``, ``walk`` and ``pseudo_label``, which training takes; each at one threshold."""
        maps = self._checked_maps(network, batch, images, output)
        photos = batch.images.float() / 255
        refiner = self.refinement.refiner(photos, batch.boxes, full_frames=batch.full_frames)
        shown = self._stage_labels(maps, refiner)
        stages = {name: Labels(maps.present.named(labels)) for name, labels in shown.items()}
        return stages | {"cam": stages["cam"]._replace(scores=maps.all_classes(network.num_classes))}

    def _stage_labels(self, maps: Maps, refiner: Refiner) -> dict[str, UInt8[Tensor, "b H W"]]:
        """Labels of the slots of ``maps`` at each stage; a CAM without refinement is one stage alone."""
        cam, present = maps.cam, maps.present.labels
        background, walk_background = self.cam_thresholds.background, self.walk_thresholds.background
        stages = {"cam": cam_labels(cam, present, background)}
        if not isinstance(self.refinement, NoRefinement):
            (refined,) = cam_scores(cam, present, (background,), refiner=refiner)
            stages[f"cam_{self.refinement.name}"] = argmax_labels(refined)
        (walked,) = walk_scores(cam, maps.affinity, present, (walk_background,), walk=self.walk_on(maps.grid))
        if self.walk_first_step is None or self.leaves_out_walk:
            return stages | {"walk": argmax_labels(walked), "pseudo_label": stages[list(stages)[-1]]}
        (both,) = refiner.refine_each([walked], in_boxes=True)
        return stages | {"walk": argmax_labels(walked), "pseudo_label": argmax_labels(both)}
