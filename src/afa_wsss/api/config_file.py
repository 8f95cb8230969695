"""``config.yaml``: every setting of a run as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from afa_wsss.data.files.whole import whole_file


def as_yaml(config: Mapping[str, Any]) -> str:
    """The settings as YAML, in their order."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """Writes ``config.yaml`` to the run's folder."""
    path = folder / "config.yaml"
    with whole_file(path) as part:
        part.write_text(as_yaml(config), encoding="utf-8")
    return path
