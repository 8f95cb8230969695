"""The folder of recipes, ``conf/``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def recipe_folder() -> Path:
    """``conf/`` inside the installed package, or beside ``src/`` in a checkout."""
    installed = Path(str(files("afa_wsss"))) / "conf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "conf"


def recipe_file(group: str, name: str) -> Path:
    """The file of one option of a group."""
    return recipe_folder() / group / f"{name}.yaml"
