"""What people look at: tables, charts, the page of a run, findings of data, and pictures.

Pictures are arrays from arrays: nothing that draws them reads or writes files.
"""

from afa_wsss.report.montage import montage
from afa_wsss.report.overlay import heat_map, mark, overlay
from afa_wsss.report.palette import colorize

__all__ = ["colorize", "heat_map", "mark", "montage", "overlay"]
