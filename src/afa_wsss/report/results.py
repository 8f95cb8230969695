"""What a run leaves in its folder: ``metrics.json`` and ``report.html``."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

from afa_wsss.data.files.whole import whole_file
from afa_wsss.report.charts import Curve
from afa_wsss.report.page import write_report
from afa_wsss.report.run import RunInfo

__all__ = ["RunInfo", "read_history", "write_report", "write_results"]


def write_results(folder: Path, metrics: Mapping[str, float], run: RunInfo, history: Path | None) -> dict[str, Path]:
    """Writes the scores, and the report with its curves and pictures.

    Args:
        folder: Folder of the run; made where it is missing.
        metrics: Flat, by name, in percent; those that are not finite are written as null.
        run: Name, classes, stages, losses and settings.
        history: The CSV log of training; None where nothing was trained.

    Returns:
        The files by what they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = folder / "metrics.json"
    flat = {key: round(value, 6) if math.isfinite(value) else None for key, value in sorted(metrics.items())}
    with whole_file(scores) as part:
        part.write_text(json.dumps(flat, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    pictures = sorted((folder / "montages").glob("*.png"), key=lambda path: (path.stat().st_mtime_ns, path.name))[-1:]
    report = write_report(folder, metrics, run, read_history(history), pictures)
    return {"scores": scores, "report": report} | ({"pictures": folder / "montages"} if pictures else {})


def read_history(path: Path | None) -> list[Curve]:
    """Every column of the CSV log as a curve over training steps; empty where there is no log.

    A last line that is cut off, as a full disk leaves it, is left out.
    """
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    names = [name for name in (rows[0] if rows else {}) if name not in ("epoch", "step")]
    curves = []
    for name in names:
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        curves.append(Curve(name, [point for point in points if math.isfinite(point[1])]))
    return curves
