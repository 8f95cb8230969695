"""AFA as a LightningModule: the training step reads like the paper, validation shows what each stage adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from afa_wsss.data.loading.frames import frames, full_boxes
from afa_wsss.evaluation.label_shares import LabelShares
from afa_wsss.inference import ClassGate, InferenceSettings, Views, multi_scale_logits, refined_labels
from afa_wsss.losses import LossTerm
from afa_wsss.models import AFA
from afa_wsss.models.fused_norms import fuse_batch_norms
from afa_wsss.ops.full_size import enlarge_labels, labels_at
from afa_wsss.ops.image import normalize
from afa_wsss.report.stages import BRANCH
from afa_wsss.supervision import LabelMaker
from afa_wsss.supervision.made import check_made, check_memory, check_stages
from afa_wsss.training.scores import ValidationScores
from afa_wsss.training.terms import (
    active_terms,
    asks_label_maker,
    check_targets,
    logged_losses,
    loss_table,
    reads_seg_logits,
    term_losses,
)
from afa_wsss.training.weight_average import LABELS, VALIDATION, WeightAverage, teacher
from afa_wsss.types import AFAOutput, AffinityPairs, Batch, Labels, Targets, affinity_row, is_own

MakeOptimizer = Callable[[AFA, Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]

THRESHOLDS_KEY = "class_thresholds"
"""Where a checkpoint has each class's threshold from the last validation."""

VALIDATED_KEY = "validated_step"
"""Where a checkpoint has the training step of the last validation; -1 before the first."""

STAGES_KEY = "validated_stages"
"""Where a checkpoint has the stages that the last validation scored: a finished run is reported without another one."""


class Inspection(NamedTuple):
    """What validation scores and pictures show of a batch; values in the padding are undefined.

    Labels are those of the photos at full size; scores are at the size that the network sees.

    Attributes:
        stages: Labels after each stage of the label maker, which knows the photo's classes; by name.
        branch: Labels of the segmentation branch, which sees the photo alone: ``segmentation``, and the same
            after the refinement of inference, by its name.
        class_logits: Output of the class branch, at ``Views.scale``, as are the following.
        affinity: On ``grid``; ``affinity_row`` gives that of one token.
        grid: Height and width of the token grid.
        cam: Class scores of the tokens: see ``AFAOutput.cam``.
    """

    stages: Mapping[str, Labels]
    branch: Mapping[str, Labels]
    class_logits: Float[Tensor, "b k"]
    affinity: AffinityPairs | Tensor
    grid: tuple[int, int]
    cam: Float[Tensor, "b k h w"]


class AFAModule(lightning.LightningModule):
    """Trains ``network`` with the targets that a label maker makes from image labels alone."""

    def __init__(
        self,
        network: AFA,
        label_maker: LabelMaker,
        losses: Mapping[str, LossTerm],
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler,
        *,
        class_names: Sequence[str],
        palette: NDArray[np.uint8],
        inference: InferenceSettings,
    ) -> None:
        """Puts the parts together.

        Args:
            network: The model.
            label_maker: Makes targets, and the labels of each stage for validation.
            losses: The terms of the total by name; their parameters are trained, too.
            optimizer: Makes the optimizer of the network and of the losses' parameters.
            scheduler: Makes the schedule of the optimizer, by step.
            class_names: Foreground classes.
            palette: (k + 1, 3) colors of the classes.
            inference: Scales, mirror and refinement of the segmentation branch in validation.

        Raises:
            UserError: For a term whose targets nobody makes, and a memory that checkpoints would not keep.
        """
        super().__init__()
        check_targets(losses, label_maker)
        check_memory(label_maker)
        self.network, self.label_maker, self.losses = network, label_maker, loss_table(losses)
        self.label_memory = label_maker.memory
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.class_names, self.palette, self.inference = tuple(class_names), palette, inference
        self.scores, self.label_shares = ValidationScores(self.class_names), LabelShares(len(self.class_names))
        self.validated_step = -1
        self.average: WeightAverage | None = None  # set by a callback
        self.gate = ClassGate(self.class_names)
        self.last_validation = False  # only the last one applies the dense CRF, because it takes time
        self._unread = {"targets", "stages"} if is_own(label_maker) else set()
        self._fused: tuple[AFA, ...] = ()  # in a tuple, so that it is no part of this module

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """L = L_cls + lambda_1 L_seg + lambda_2 L_aff + ..., each term from its own first step on."""
        images = normalize(batch.images)
        terms = active_terms(self.losses, self.global_step)
        output = self.network(images, decoded=reads_seg_logits(terms, self.label_maker))
        targets = self.supervise(batch, images, output, terms)
        if targets.pseudo_label is not None:
            self.label_shares.update(targets.pseudo_label, batch.boxes, size=images.shape[-2:])
        losses = term_losses(terms, output, targets, step=self.global_step)
        total = sum((terms[name].weight * loss for name, loss in losses.items()), start=self._zero(output))
        self.log_dict(logged_losses(losses, total))
        return total

    def supervise(self, batch: Batch, images: Tensor, output: AFAOutput, terms: Mapping[str, LossTerm]) -> Targets:
        """What ``terms`` compare; the label maker is asked only where one of them needs more than the batch holds.

        Raises:
            UserError: Where it does not make what it said it would.
        """
        if not asks_label_maker(terms):
            return Targets.of(batch)
        decoded = self.label_maker.reads_seg_logits
        with teacher(self.average, self.network, images, output, decoded=decoded) as (network, own):
            targets = self.label_maker.targets(network, batch, images, own, step=self.global_step)
        needed = {need: name for name, term in terms.items() for need in term.needs}
        height, width = self.network.grid(*images.shape[-2:])
        values = self._reads_values("targets", batch)
        check_made(targets, needed, self.label_maker, batch=batch, grid=(height, width), values=values)
        return targets

    def _reads_values(self, made: str, batch: Batch) -> bool:
        """Whether to check the values of a label maker of one's own: where a device has to be waited for, once."""
        first = made in self._unread
        if first and batch.images.device.type != "cpu":
            self._unread.remove(made)
        return first

    def _zero(self, output: AFAOutput) -> Tensor:
        """0 that depends on every parameter, so that each has a gradient in every step: DDP waits for all of them."""
        outputs = output.class_logits.mean() + affinity_row(output.pairs, 0, 0).mean()
        parts = (self.network.segmentation_head, self.losses)
        return 0.0 * sum((parameter.mean() for part in parts for parameter in part.parameters()), start=outputs)

    @torch.no_grad()
    def inspect(self, batch: Batch) -> Inspection:
        """Everything that validation scores and pictures show of a batch, one of ``frames`` if photos were shrunk."""
        images = normalize(batch.images)
        views = self.views(images)
        size = images.shape[-2:] if batch.full_sizes is None else batch.full_sizes[0]
        # Before the stages: segmentation logits are not in memory any more then.
        branch = self._branch(batch, views, size)
        made = self.label_maker.stages(views, batch, images, views.output())
        check_stages(made, self.label_maker, batch=batch, values=self._reads_values("stages", batch))
        stages = {name: found._replace(labels=enlarge_labels(found.labels, size)) for name, found in made.items()}
        cam, pairs = views.shown()
        return Inspection(stages, branch, views.class_logits(), pairs, (cam.shape[-2], cam.shape[-1]), cam)

    @property
    def validated_network(self) -> AFA:
        """The network whose weights are scored and kept: the trained one, or its average."""
        average = self.average
        return self.network if average is None or VALIDATION not in average.uses else average.network

    @property
    def labeling_network(self) -> AFA:
        """The network whose maps labels are made of: the trained one, or its average."""
        average = self.average
        return self.network if average is None or LABELS not in average.uses else average.network

    def views(self, images: Float[Tensor, "b 3 H W"]) -> Views:
        """The network on normalized photos, each scale and mirror image once, for prediction and label maker alike."""
        cam_scales = getattr(self.label_maker, "cam_scales", ())
        scales, mirror = self.inference.scales, self.inference.mirror
        network = self._fused[0] if self._fused else self.validated_network
        return Views(network, images, scales=scales, mirror=mirror, cam_scales=cam_scales)

    def _branch(self, batch: Batch, views: Views, size: Sequence[int]) -> dict[str, Labels]:
        """Labels of the segmentation branch at full size, by stage; of the classes that the gate lets through."""
        scales, mirror = self.inference.scales, self.inference.mirror
        logits = multi_scale_logits(views, views.images, scales=scales, mirror=mirror)
        logits = self.gate.apply(self.inference.gate, logits, views.class_logits())
        branch = {BRANCH: Labels(labels_at(logits, size))}
        refinement = self.inference.refinement
        if self.inference.refines and (self.last_validation or refinement != "crf"):
            branch[refinement] = Labels(refined_labels(batch.images, logits, batch.boxes, self.inference, size=size))
        return branch

    def on_validation_epoch_start(self) -> None:
        """Weights stay as they are until the end of the validation, so batch norms can be fused for so long."""
        self._fused = (fuse_batch_norms(self.validated_network),)

    def validation_step(  # type: ignore[override]  # for callbacks
        self, batch: Batch, batch_index: int
    ) -> list[Inspection]:
        """Updates the scores; callbacks that draw and write get an inspection of each of ``frames(batch)``."""
        found = []
        for frame in frames(batch):
            seen = self.inspect(frame)
            self.scores.update(seen.stages, seen.branch, seen.class_logits, frame._replace(boxes=full_boxes(frame)))
            found.append(seen)
        return found

    def on_validation_epoch_end(self) -> None:
        """Logs every score and starts anew; torchmetrics sums over all processes, so all log the same."""
        self._fused = ()
        scores = self.scores.compute()
        self.log_dict(scores, sync_dist=True)
        self.gate.found = self.scores.class_thresholds(scores)
        self.validated_step = self.global_step
        self.scores.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores what the last validation found beside the weights that it was found with, and when that was."""
        checkpoint[THRESHOLDS_KEY], checkpoint[VALIDATED_KEY] = self.gate.found, self.validated_step
        checkpoint[STAGES_KEY] = list(self.scores.stages)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the thresholds of the run that is resumed.

        Up to version 0.2.0 there were none, and groups of the optimizer without any parameter, which are left out now.
        """
        self.gate.found = dict(checkpoint.get(THRESHOLDS_KEY, {}))
        self.validated_step = int(checkpoint.get(VALIDATED_KEY, -1))
        self.scores.stages = tuple(checkpoint.get(STAGES_KEY, ()))
        for state in checkpoint.get("optimizer_states", ()):
            state["param_groups"] = [group for group in state["param_groups"] if group["params"]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule, stepped after every batch."""
        optimizer = self.make_optimizer(self.network, self.losses.parameters())
        schedule = {"scheduler": self.make_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]  # a TypedDict of lightning
