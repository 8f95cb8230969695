"""Pictures: arrays in, arrays out; nothing here reads or writes files, and nothing decides when to draw."""

from afa_wsss.report.montage import montage
from afa_wsss.report.overlay import heat_map, mark, overlay
from afa_wsss.report.palette import colorize

__all__ = ["colorize", "heat_map", "mark", "montage", "overlay"]
