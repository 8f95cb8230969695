"""Runs the commands inside the test process, as a user would from a shell."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from beartype.roar import BeartypeDecorHintPep585DeprecationWarning
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from afa_wsss.data.partshapes.write import write_partshapes

with warnings.catch_warnings():
    # OmegaConf's DictConfig derives from typing.MutableMapping; beartype warns once for each signature it checks.
    warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)
    import afa_wsss.cli.data
    import afa_wsss.cli.evaluate
    import afa_wsss.cli.predict
    import afa_wsss.cli.pseudo_label
    import afa_wsss.cli.sweep_report
    import afa_wsss.cli.train
    import afa_wsss.cli.tune
    from afa_wsss.cli.compose import Composed
    from afa_wsss.cli.front import compose_words
    from afa_wsss.cli.shell import quiet_libraries as quiet_libraries


def run_command(main: Callable[[], None], *words: str) -> int:
    """Exit code of a command with these words."""
    GlobalHydra.instance().clear()
    # Hydra composes everything once more to see hydra.mode, which no test sets.
    with patch.object(sys, "argv", ["afa", *words]), patch.object(Hydra, "get_mode", return_value=None):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            GlobalHydra.instance().clear()
    return 0


def composed(*words: str) -> Composed[Any]:
    """Settings of a training run, typed and as plain data; its callbacks and loggers are left out."""
    given = {word.partition("=")[0] for word in words}
    usual = ["data.root=/photos", "output_dir=out", "callbacks=none", "logger=none"]
    chosen = [word for word in usual if word.partition("=")[0] not in given]
    return compose_words(afa_wsss.cli.train.COMMAND, (*chosen, *words))


def settings_of_run(*words: str) -> dict[str, Any]:
    """Resolved settings of a training run as plain data."""
    return composed(*words).config


def write_small_set(root: Path) -> Path:
    """PartShapes of 8 training and 5 held-out pictures: an odd number, so that two processes share it unevenly."""
    return write_partshapes(root, train=8, val=5, size=48)


def trained_run(root: Path, folder: Path, *words: str) -> Path:
    """The folder of a finished ``small_run`` without pictures, with these words besides."""
    given = (*small_run(root), "callbacks=quiet", *words, f"output_dir={folder}")
    assert run_command(afa_wsss.cli.train.main, *given) == 0
    return folder


def small_run(root: Path) -> list[str]:
    """Words of a training run that goes through all three phases in 4 steps."""
    return [
        "experiment=demo",
        f"data.root={root}",
        "data.crop_size=48",
        "data.batch_size=2",
        "data.eval_batch_size=3",
        "data.num_workers=0",
        "model.pretrained=null",
        "supervision.first_step=1",
        "supervision.walk_first_step=2",
        "supervision.refinement.steps=2",
        "trainer.max_steps=4",
        "trainer.val_check_interval=3",
        "trainer.log_every_n_steps=1",
        "trainer.accelerator=cpu",
    ]
