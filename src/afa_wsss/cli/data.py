"""``afa-data``: makes and prepares data sets; the first word says which."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from afa_wsss.cli.shell import run
from afa_wsss.data.partshapes import PARTSHAPES, PRETRAINING, PRETRAINING_CLUTTER, write_partshapes
from afa_wsss.data.partshapes_scene import DEFAULT_CLUTTER


def write_synthetic(config: DictConfig) -> None:
    """Writes PartShapes, unless it is there already."""
    root = Path(config.root)
    console = Console()
    if (root / "classes.json").is_file() and not config.overwrite:
        console.print(f"PartShapes is there already: {root} (overwrite=true writes it anew)")
        return
    write_partshapes(
        root,
        train=config.train,
        val=config.val,
        size=config.size,
        seed=config.seed,
        parts=PRETRAINING if config.pretraining else PARTSHAPES,
        clutter=PRETRAINING_CLUTTER if config.pretraining else DEFAULT_CLUTTER,
        workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        progress=partial(track, description="draw PartShapes", total=config.train + config.val),
    )
    console.print(f"wrote {config.train} + {config.val} pictures to {root}")


USAGE = """usage: afa-data DATASET [setting=value ...]
DATASET: {known}
afa-data DATASET --help lists its settings
"""
DATASETS: dict[str, Callable[[DictConfig], None]] = {"partshapes": write_synthetic}


def main() -> None:
    """Entry point of ``afa-data``."""
    words = sys.argv[1:]
    known = ", ".join(DATASETS)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE.format(known=known))
        raise SystemExit(0 if words else 2)
    if words[0] not in DATASETS:
        sys.stderr.write(f"error: need a data set of {known}; got {words[0]!r}\n")
        raise SystemExit(2)
    sys.argv = [sys.argv[0], *words[1:]]
    run(DATASETS[words[0]], f"data_{words[0]}")


if __name__ == "__main__":
    main()
