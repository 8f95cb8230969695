"""``afa-pseudo-label``: writes the pseudo labels (walk and PAR) of photos whose image labels are known."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from afa_wsss.cli.evaluate import score
from afa_wsss.cli.shell import run


def make_pseudo_labels(config: DictConfig) -> None:
    """Writes one palette PNG a photo; with ``score``, compares them with the photos' masks."""
    masks = Path(HydraConfig.get().runtime.output_dir) / "pseudo_labels"
    score(config, reading="pseudo_label", masks=masks, with_masks=config.score)


def main() -> None:
    """Entry point of ``afa-pseudo-label``."""
    run(make_pseudo_labels, "pseudo_label")


if __name__ == "__main__":
    main()
