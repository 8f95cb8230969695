"""``afa-wandb-workspace entity=ME``: saves a view of a wandb project with the charts of ``afa-train``."""

from __future__ import annotations

from afa_wsss.api.wandb_workspace import WandbWorkspaceSettings, save_workspace
from afa_wsss.cli.compose import Composed
from afa_wsss.cli.output import say
from afa_wsss.cli.shell import Command


def save_view(composed: Composed[WandbWorkspaceSettings]) -> None:
    """Saves it and prints its address."""
    say(f"saved: {save_workspace(composed.settings)}")


COMMAND = Command("wandb_workspace", WandbWorkspaceSettings, save_view)


def main() -> None:
    """Entry point of ``afa-wandb-workspace``."""
    COMMAND.run()


if __name__ == "__main__":
    main()
