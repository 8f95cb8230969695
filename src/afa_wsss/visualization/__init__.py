"""Pictures: array in, array out."""

from afa_wsss.visualization.montage import montage
from afa_wsss.visualization.overlay import colorize, heat_map, mark, overlay

__all__ = ["colorize", "heat_map", "mark", "montage", "overlay"]
