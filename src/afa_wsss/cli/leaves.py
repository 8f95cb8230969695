"""The values of a configuration by their full names, as they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf


def leaves(config: DictConfig) -> dict[str, Any]:
    """All values but tables, references between settings unresolved; a list is one value."""
    return dict(_leaves(OmegaConf.to_container(config, resolve=False), ()))


def _leaves(values: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, (*above, str(name)))
    else:
        yield ".".join(above), values
