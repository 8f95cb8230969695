"""Where a run comes from: versions, code, command, seed and data, for its folder and its checkpoints."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afa_wsss.data.base import SegmentationDataset
from afa_wsss.errors import UserError
from afa_wsss.training.datamodule import AFADataModule

PACKAGES = ("afa-wsss", "torch", "torchvision", "lightning", "hydra-core", "numpy", "timm", "albumentations", "pillow")
"""Packages whose versions decide what a run gives."""

LONGEST_DIFF = 1_000_000
"""A longer diff is left out, characters."""

LOOKED_AT = 8
"""Photos of a split whose pixels count for its fingerprint; the image labels of all do."""

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
        "data": {use: fingerprint(found.dataset) for use, found in sets.items() if found is not None},
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
    if len(diff) > LONGEST_DIFF:
        diff = f"left out: {len(diff):,} characters\n"
    return {"name": folder.name, "commit": commit.strip(), "diff": diff}


def _git(folder: Path, *words: str) -> str:
    """What git says there; empty where it fails or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, timeout=GIT_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def fingerprint(photos: SegmentationDataset) -> dict[str, Any]:
    """Number of the photos, and 16 hex digits of SHA-256: classes, image labels of all, names and pixels of a few.

    A folder that was moved keeps it.
    """
    digest = hashlib.sha256("\n".join(photos.class_names).encode())
    digest.update(np.ascontiguousarray(photos.image_labels).tobytes())
    for index in np.unique(np.linspace(0, len(photos) - 1, LOOKED_AT).astype(int)):
        try:
            sample = photos.sample(int(index))
        except UserError:  # training says what is wrong with it
            continue
        digest.update(sample.name.encode())
        digest.update(np.ascontiguousarray(sample.image).tobytes())
    return {"photos": len(photos), "sha256": digest.hexdigest()[:16]}
