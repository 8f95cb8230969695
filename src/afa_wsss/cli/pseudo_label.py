"""``afa-pseudo-label``: writes the pseudo labels of photos whose image labels are known."""

from __future__ import annotations

from afa_wsss.api.evaluate import pseudo_label
from afa_wsss.api.settings import PseudoLabelSettings
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.evaluate import show
from afa_wsss.cli.shell import Command


def make_pseudo_labels(composed: Composed[PseudoLabelSettings]) -> None:
    """Writes one palette PNG per photo; with ``score``, compares them with the photos' masks."""
    show(pseudo_label(composed.settings))


COMMAND = Command("pseudo_label", PseudoLabelSettings, make_pseudo_labels, together=True)


def main() -> None:
    """Entry point of ``afa-pseudo-label``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
