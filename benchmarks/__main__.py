"""Times each stage beside its textbook form, and prints the ratios: ``make bench``.

    python -m benchmarks --only PAR --rounds 3
    python -m benchmarks --only "labels of a step" --markdown found.md

A ratio is the textbook's time over the package's, so that higher is better.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median, quantiles

import torch
from rich.console import Console

from benchmarks.measure import Comparison, peak_in_own_process, peak_of, take_turns
from benchmarks.stages import STAGES

COLUMNS = ("stage", "textbook, s", "ours, s", "times as fast", "textbook, MiB", "ours, MiB", "memory", "results")


def compare(stage: str, rounds: int, threads: int) -> Comparison:
    """Measures both ways of a stage."""
    torch.manual_seed(0)
    repeats = {"training": 1, "labels": 3, "validation": 3, "paper's": 1}.get(stage.split()[0], 5)
    seconds, difference = take_turns(STAGES[stage](), rounds, repeats=repeats)
    peaks = {way: peak_in_own_process(stage, way, threads) for way in ("textbook", "ours")}
    return Comparison(seconds, difference, peaks)


def spread(seconds: list[float]) -> str:
    """Median, and half the distance between the quartiles."""
    if len(seconds) == 1:
        return f"{seconds[0]:.3g} (once)"
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return f"{median(seconds):.3g} ± {(high - low) / 2:.2g}"


def row(stage: str, found: Comparison) -> list[str]:
    """The cells of a stage, in the order of ``COLUMNS``."""
    theirs, ours = (found.peaks[way] / 2**20 for way in ("textbook", "ours"))
    times = [spread(found.seconds[way]) for way in ("textbook", "ours")]
    memory = [f"{theirs:.0f}", f"{ours:.0f}", f"1/{theirs / ours:.1f}"] if theirs and ours else ["", "", ""]
    return [stage, *times, f"{found.speed_up:.1f}", *memory, found.difference]


def line(cells: list[str] | tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints a row for each stage as it is done; stages that take minutes have one round unless more are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="stages with this in their name")
    parser.add_argument("--rounds", type=int, default=5, help="of each stage but the longest, which have --long-rounds")
    parser.add_argument("--long-rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", type=Path, help="a file to append the table to")
    parser.add_argument("--peak", nargs=2, metavar=("STAGE", "WAY"), help="print the peak memory of one way alone")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    console = Console(highlight=False, soft_wrap=True)
    if settings.peak:
        torch.manual_seed(0)
        job = getattr(STAGES[settings.peak[0]](), settings.peak[1])
        job()  # a first call, so that what a process loads once does not count
        console.print(peak_of(job))
        return
    console.print(f"torch {torch.__version__}, {settings.threads} threads")
    lines = [line(COLUMNS), line(["---"] * len(COLUMNS))]
    console.print("\n".join(lines))
    for stage in STAGES:
        if settings.only in stage:
            rounds = settings.long_rounds if "crop 512" in stage else settings.rounds
            lines.append(line(row(stage, compare(stage, rounds, settings.threads))))
            console.print(lines[-1])
    if settings.markdown:
        with settings.markdown.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
