"""Looks through a data set and tells all that it found; shared by the words of ``afa-data``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from afa_wsss.cli.settings import plain
from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.check import check_split, compare_splits, count_labels
from afa_wsss.data.checks.problems import Problem, Report
from afa_wsss.data.files.label_cache import write_atomically
from afa_wsss.data.files.parallel import available_cores
from afa_wsss.data.formats.photo_files import PhotoFiles
from afa_wsss.errors import UserError
from afa_wsss.report.findings import findings_as_data, findings_table, splits_table

OpensSplit = Callable[[str, bool, Report], SegmentationDataset]
"""Opens a split, with masks or not, and reports what is wrong with its lists and labels."""


def progress(description: str, total: int) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """A bar for ``total`` things."""
    return partial(track, description=description, total=total)


def look_through(open_split: OpensSplit, splits: Mapping[str, str], *, root: Path, output_dir: Path) -> int:
    """Prints tables of photos and findings, and writes ``problems.json``.

    Args:
        open_split: Opens a split.
        splits: Name of the split that is trained with and of those to validate with, by ``train`` and other words.
        root: Of the data; paths are printed from there on.
        output_dir: For the JSON file.

    Returns:
        How many errors there are.
    """
    opened: dict[str, SegmentationDataset] = {}
    found: dict[str, list[Problem]] = {}
    counts: dict[str, tuple[int, int, dict[str, int]]] = {}
    for use, split in splits.items():
        gathered = found.setdefault(split, [])
        dataset = _opened(open_split, split, gathered, with_masks=use != "train")
        if dataset is not None:
            masks = dataset.count_masks() if isinstance(dataset, PhotoFiles) else 0
            opened[use], counts[split] = dataset, (len(dataset), masks, count_labels(dataset))
            workers = min(available_cores(), 1 + len(dataset) // 200)
            gathered += check_split(dataset, workers=workers, progress=progress(f"look through {split}", len(dataset)))
        # One table may name both splits: what is wrong with it is told once.
        told = {problem.told for other in found if other != split for problem in found[other]}
        gathered[:] = [problem for problem in dict.fromkeys(gathered) if problem.told not in told]
    found["both"] = compare_splits(opened)
    return _tell(counts, found, root, output_dir)


def _opened(
    open_split: OpensSplit, split: str, gathered: list[Problem], *, with_masks: bool
) -> SegmentationDataset | None:
    """A split with its labels read, or None where it has none to look through; what is wrong is gathered."""
    try:
        dataset = open_split(split, with_masks, gathered.extend)
        _ = dataset.image_labels, isinstance(dataset, PhotoFiles) and dataset.needs_masks
    except UserError as error:
        gathered.append(Problem("split unfit", split, str(error)))
        return None
    return dataset


def _tell(
    counts: Mapping[str, tuple[int, int, dict[str, int]]],
    found: Mapping[str, list[Problem]],
    root: Path,
    output_dir: Path,
) -> int:
    console, findings = Console(), [problem for problems in found.values() for problem in problems]
    content = findings_as_data(counts, found)
    path = output_dir / "problems.json"
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if counts:
        console.print(splits_table(counts))
    if not findings:
        console.print("nothing wrong found", highlight=False)
        return 0
    console.print(findings_table(findings, root=root))
    numbers = [(content[f"{level}s"], level) for level in ("error", "warning", "note")]
    told = ", ".join(f"{number} {level}{'' if number == 1 else 's'}" for number, level in numbers if number)
    console.print(f"{told}; all of them: {path}", soft_wrap=True, highlight=False, markup=False)
    return int(content["errors"])


def stop_with_errors(errors: int) -> None:
    """Ends the command with one line where training would fail.

    Raises:
        UserError: For more than no errors.
    """
    if errors:
        named = "1 error" if errors == 1 else f"{errors} errors"
        raise UserError(f"need data without errors to train on, got {named}; mend what the table names")


def check(config: DictConfig) -> None:
    """Looks through what ``afa-train`` would read with these settings of ``data``."""
    settings = plain(config)["data"]
    target = get_method(settings["dataset"]["_target_"])
    arguments = {key: value for key, value in settings["dataset"].items() if key != "_target_"}
    reports = "report" in inspect.signature(target).parameters

    def open_split(split: str, with_masks: bool, report: Report) -> SegmentationDataset:
        listening = {"report": report} if reports else {}
        dataset: SegmentationDataset = target(
            settings["root"], split=split, with_masks=with_masks, **arguments, **listening
        )
        return dataset

    splits = {use: settings[f"{use}_split"] for use in ("train", "val")}
    chosen = {use: split for use, split in splits.items() if split is not None}
    root = Path(settings["root"])
    stop_with_errors(look_through(open_split, chosen, root=root, output_dir=Path(config.output_dir)))
