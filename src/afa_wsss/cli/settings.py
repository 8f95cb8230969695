"""A composed configuration as plain data; apart from what trains, so that ``afa-data`` starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from afa_wsss.errors import UserError

Plain = dict[str, Any]


def plain(config: DictConfig) -> Plain:
    """The configuration as nested dicts and lists, every reference resolved and the data root absolute.

    Raises:
        UserError: Naming settings that have no value yet.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        told = ", ".join(f"{key}=..." for key in missing)
        raise UserError(f"need a value for {', '.join(missing)}, got none; add {told} to the command")
    settings: Plain = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]  # OmegaConf types any container
    data = settings.get("data", {})
    if data.get("root") is not None:
        data["root"] = str(Path(data["root"]).expanduser().absolute())
        if "dataset" in data:
            data["dataset"] = {key: value for key, value in data["dataset"].items() if key != "root"}
    return settings
