"""Hands held-out photos with masks to a label maker that learns from them, between training steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.seed import isolate_rng

from afa_wsss.data.loading.frames import frames
from afa_wsss.data.loading.sets import EvalSet, Item, collate
from afa_wsss.errors import UserError
from afa_wsss.models.encoders.training_parts import evaluating
from afa_wsss.ops.image import sample_centers
from afa_wsss.supervision import LabelMaker
from afa_wsss.supervision.recent_splits import LOOKED_AT
from afa_wsss.training.callbacks.compilation import Compilation
from afa_wsss.training.callbacks.uneven_validation import equal_buffers
from afa_wsss.training.module import AFAModule
from afa_wsss.training.terms import active_terms, asks_label_maker
from afa_wsss.types import IGNORE_INDEX, Batch

LOOKED_KEY = "held_out_looked_step"
"""Where a checkpoint says which step held-out photos were last looked at before."""

ADVICE, ARGUMENTS = "; add masks, or leave supervision.auto_from at photos", ("supervision.auto_from", "data.val_split")
"""End of the errors about photos without masks, and the settings that they name."""


class HeldOutLooks(Callback):
    """Calls ``LabelMaker.look`` before the training steps at which it wants to, with the network in evaluation mode.

    The photos, at most ``LOOKED_AT`` of those with masks and spread over the split, are read once, kept in memory, and
    dealt to the processes. Random numbers, modes and gradients of training are what they would be without it.

    Attributes:
        items: The photos of all processes, with masks of the photos' size.
        looked_step: Step of the last look: one of several batches has a single look, and so has one that is repeated
            because the run was killed within it. Where an error ends the run, ``NonFinite`` takes the look back.
    """

    def __init__(self, photos: EvalSet, *, batch_size: int) -> None:
        """Reads the photos; ``batch_size`` of them pass the network at a time.

        Raises:
            UserError: Where no photo has a mask, or no mask shows a class.
        """
        self.items, self.batch_size, self.looked_step = masked_items(photos, LOOKED_AT), batch_size, -1
        self.batches: list[Batch] = []
        if not self.items:
            got = f"none of the {len(photos)} photos to validate on has one"
            raise UserError(f"need held-out photos with masks, {got}{ADVICE}", arguments=ARGUMENTS)
        if all(np.isin(item.mask, (0, IGNORE_INDEX)).all() for item in self.items if item.mask is not None):
            got = f"those of {len(self.items)} photos are background alone"
            raise UserError(f"need held-out photos whose masks show a class, {got}{ADVICE}", arguments=ARGUMENTS)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Makes the batches of this process."""
        own = self.items[trainer.global_rank :: trainer.world_size]
        cut = [own[start : start + self.batch_size] for start in range(0, len(own), self.batch_size)]
        self.batches = [frame for items in cut for frame in frames(collate(items))]

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Looks if the label maker wants to, and is asked for labels at this step."""
        step = trainer.global_step
        if step == self.looked_step or not isinstance(pl_module, AFAModule):
            return
        if asks_label_maker(active_terms(pl_module.losses, step)) and pl_module.label_maker.wants_look(step=step):
            self.looked_step = step
            equal_buffers(trainer, pl_module)
            network = pl_module.labeling_network
            with isolate_rng(), torch.no_grad(), evaluating(network), _eagerly(trainer):
                moved = (trainer.strategy.batch_to_device(batch) for batch in self.batches)
                with trainer.strategy.precision_plugin.val_step_context():
                    pl_module.label_maker.look(network, moved, step=step)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the step under a key of its own: Lightning asks for every callback that has a ``state_dict`` back."""
        taken_back = trainer.state.status == TrainerStatus.INTERRUPTED
        checkpoint[LOOKED_KEY] = -1 if taken_back else self.looked_step

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        self.looked_step = int(checkpoint.get(LOOKED_KEY, -1))


def held_out_looks(label_maker: LabelMaker, photos: EvalSet | None, *, batch_size: int) -> list[HeldOutLooks]:
    """The callback for a label maker that learns from masks of held-out photos; none for others.

    Raises:
        UserError: Where there are no such photos.
    """
    if not label_maker.learns_from_masks:
        return []
    if photos is None:
        raise UserError(f"need held-out photos with masks, got no validation split{ADVICE}", arguments=ARGUMENTS)
    return [HeldOutLooks(photos, batch_size=batch_size)]


def masked_items(photos: EvalSet, most: int) -> list[Item]:
    """At most ``most`` photos with masks, spread over the split, with masks at the size of their photos.

    Photos without a class come last: labels of theirs are all background at any score.
    """
    found: list[Item] = []
    if not getattr(photos.dataset, "has_masks", True):
        return found
    labels = photos.dataset.image_labels
    order = list(spread(len(photos)))
    if labels is not None:
        order.sort(key=lambda index: not labels[index].any())  # stable
    for index in order:
        item = photos[index]
        if item.mask is not None:
            mask = sample_centers(torch.tensor(item.mask), item.image.shape[:2])
            found.append(item._replace(mask=mask.numpy(), full_size=None))
        if len(found) == most:
            break
    return found


def spread(count: int) -> Iterator[int]:
    """All of ``range(count)``, in an order of which every beginning is spread over it: halves first, then quarters."""
    bits = (count - 1).bit_length()
    places = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(2**bits))
    return iter(dict.fromkeys(place * count // 2**bits for place in places))


def _eagerly(trainer: lightning.Trainer) -> AbstractContextManager[Any]:
    """Without compilation, where there is any: held-out photos have a size each."""
    compiles = any(isinstance(callback, Compilation) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    return torch.compiler.set_stance("force_eager") if compiles else nullcontext()
