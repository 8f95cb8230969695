"""Resolvers of ``experiment=photos``: ``${photos.radius:...}`` in a recipe becomes a number of ``api.photo_recipe``."""

from __future__ import annotations

import json
from functools import cache

from omegaconf import DictConfig, OmegaConf, open_dict

from afa_wsss.api import photo_recipe
from afa_wsss.api.assemble import assemble
from afa_wsss.cli.leaves import leaves
from afa_wsss.data.loading.settings import DataSettings
from afa_wsss.errors import argument

_PREFIX = "photos."

RULES = (
    "by_machine",
    "cam_scales",
    "dilations",
    "first_step",
    "max_side",
    "part",
    "radius",
    "steps",
    "walk_first_step",
    "walk_radius",
    "warmup_steps",
    "workers",
)
"""Functions of ``api.photo_recipe`` that recipes may call."""


def register_resolvers() -> None:
    """Makes the rules known to OmegaConf.

    Two read more of the configuration than a recipe gives them: ``photos.count``, the number of photos to train on, and
    ``photos.step_crops``, the crops of a training step on all devices.
    """
    for name in RULES:
        OmegaConf.register_new_resolver(_PREFIX + name, getattr(photo_recipe, name), replace=True)
    OmegaConf.register_new_resolver(f"{_PREFIX}count", _count, replace=True)
    OmegaConf.register_new_resolver(f"{_PREFIX}step_crops", _step_crops, replace=True)


def _count(*, _root_: DictConfig) -> int:
    """Photos of the split to train on; the data settings must not depend on it."""
    return _photos_of(json.dumps(OmegaConf.to_container(_root_.data, resolve=True), sort_keys=True))


def _step_crops(*, _root_: DictConfig) -> int:
    """Crops of a training step of this run."""
    data, trainer = _root_.data, _root_.trainer
    return photo_recipe.step_crops(
        data.batch_size,
        data.total_batch,
        trainer.accumulate_grad_batches,
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        nodes=trainer.num_nodes,
    )


@cache
def _photos_of(data: str) -> int:
    """The same for data settings as JSON; a recipe asks several times."""
    with argument("data"):
        return len(assemble(DataSettings, json.loads(data)).open_split("train", with_masks=False))


def compute(config: DictConfig) -> None:
    """Puts numbers in place of all rules, so that ``config.yaml`` holds what a run was done with."""
    _photos_of.cache_clear()  # a notebook trains again after photos were added
    rules = [name for name, value in leaves(config).items() if isinstance(value, str) and f"{{{_PREFIX}" in value]
    values = {name: OmegaConf.select(config, name) for name in rules}
    with open_dict(config):
        for name, value in values.items():
            OmegaConf.update(config, name, value, merge=False)
