"""A warning about a run, and the settings that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from afa_wsss.report.run import RunInfo

NAMED = 6
"""How many classes a warning names."""


class RunWarning(NamedTuple):
    """Something that is wrong with a run, or likely so.

    Attributes:
        kind: The same for all warnings of one check.
        subjects: What it is about, such as classes: a warning that is about nothing new need not be repeated.
        line: What is wrong, with its numbers, and the setting that acts on it; without a full stop.
    """

    kind: str
    subjects: tuple[str, ...]
    line: str


def settings_text(run: RunInfo, *names: str, last: str = "and") -> str:
    """Settings with their values, as "a (now 1), b (now 2) and c (now 3)".

    Names that the run's configuration does not have are left out, as long as it has one of them. A background score
    that finds itself has the value that was found.
    """
    values = {name: _value(run.config, name) for name in names}
    found = {name: f"{run.thresholds[name]:.2g}, found" for name in names if name in run.thresholds}
    values |= {name: number for name, number in found.items() if values[name] in ("auto", "null")}
    known = {name: value for name, value in values.items() if value is not None}
    return listed([f"{name} (now {value})" for name, value in known.items()] or names, last=last)


def listed(words: Sequence[str], *, last: str = "and") -> str:
    """The words as "a, b and c"; those beyond ``NAMED`` are counted: "a, b, c, d, e, f and 3 more"."""
    shown = list(words[:NAMED]) + ([f"{len(words) - NAMED} more"] if len(words) > NAMED else [])
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}" if len(shown) > 1 else "".join(shown)


def _value(config: Mapping[str, Any], name: str) -> str | None:
    """The value of a setting by its full name; None for one that there is not."""
    found: Any = config
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    if isinstance(found, list | tuple):
        return f"[{', '.join(f'{value:g}' if isinstance(value, float) else str(value) for value in found)}]"
    return f"{found:g}" if isinstance(found, float) else "null" if found is None else str(found)
