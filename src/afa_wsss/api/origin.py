"""Where a run comes from: versions, code, command, seed and data, for its folder and its checkpoints."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from afa_wsss.data.fingerprint import fingerprint
from afa_wsss.training.datamodule import AFADataModule

PACKAGES = ("afa-wsss", "torch", "torchvision", "lightning", "hydra-core", "numpy", "timm", "albumentations", "pillow")
"""Packages whose versions decide what a run gives."""

LONGEST_DIFF = 1_000_000
"""A longer diff is left out, characters."""

GIT_SECONDS = 10


def origin_of(data: AFADataModule, *, seed: int) -> dict[str, Any]:
    """Plain data that says how to make the run again; nothing in it is a secret but what the command or the diff holds.

    ``code`` has commit and diff of the repository of the working folder, and of the package's own where that is another
    one; what lies in no repository, or where there is no git, is left out.
    """
    sets = {"train": data.train_set, "val": data.val_set}
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "versions": _versions(),
        "code": [found for folder in _repositories() if (found := _commit(folder))],
        "data": {
            use: {"photos": len(found), "sha256": fingerprint(found.dataset)}
            for use, found in sets.items()
            if found is not None
        },
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["torch"] = str(torch.__version__)  # with that of CUDA it was built for
    if torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name()}
    return found


def _repositories() -> list[Path]:
    """Top folders of the repositories of the working folder and of the package, each once."""
    tops = [_git(folder, "rev-parse", "--show-toplevel") for folder in (Path.cwd(), Path(__file__).parent)]
    return list(dict.fromkeys(Path(top.strip()) for top in tops if top))


def _commit(folder: Path) -> dict[str, str]:
    """Name, commit and diff of a repository; empty before its first commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    diff = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff")
    if diff is None:
        diff = f"left out: git diff failed, or took more than {GIT_SECONDS} seconds\n"
    elif len(diff) > LONGEST_DIFF:
        diff = f"left out: {len(diff):,} characters\n"
    return {"name": folder.name, "commit": commit.strip(), "diff": diff}


def _git(folder: Path, *words: str) -> str | None:
    """What git says there; None where it fails or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, timeout=GIT_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None
