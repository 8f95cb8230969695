"""Settings of a run and of the one that it goes on from: which may not differ, and which do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from afa_wsss.api.assemble import TARGET, find_class
from afa_wsss.errors import UserError

UNCOMPARED = ("resume", "config", "output_dir", "name", "callbacks", "logger", "class_names", "palette")
"""Settings that say nothing of what is trained."""


def _kind(part: Any) -> str:
    """A part by its class, a backbone by its name."""
    return str(part[TARGET]).rpartition(".")[2] if isinstance(part, Mapping) and TARGET in part else str(part)


def _terms(config: Mapping[str, Any]) -> str:
    return ", ".join(sorted(f"{name} ({_kind(part)})" for name, part in config["loss"].items() if part is not None))


def _switch(group: str, name: str, *, off: Any) -> Callable[[Mapping[str, Any]], str]:
    """Whether a way to train is used that decides what the optimizer holds; runs from before it was there use none."""
    return lambda config: "off" if config.get(group, {}).get(name, off) == off else "on"


_FIXED = (
    ("seed", "seed", lambda config: config["seed"]),
    ("backbone", "model.backbone", lambda config: _kind(config["model"]["backbone"])),
    ("label maker", "supervision", lambda config: _kind(config["supervision"])),
    ("loss table", "loss", _terms),
    ("freezing of the backbone", "optimizer.freeze_backbone", _switch("optimizer", "freeze_backbone", off=False)),
    ("number of frozen layers", "optimizer.freeze_layers", lambda config: config["optimizer"].get("freeze_layers", 0)),
    ("decay by layers", "optimizer.layer_decay", _switch("optimizer", "layer_decay", off=1.0)),
    ("8-bit optimizer", "optimizer.eight_bit", _switch("optimizer", "eight_bit", off=False)),
    ("average of weights", "trainer.ema_decay", _switch("trainer", "ema_decay", off=None)),
)
"""What may not change, the setting's name, and where it is in a configuration."""


def refuse_another_run(before: Mapping[str, Any], now: Mapping[str, Any], *, path: Path) -> None:
    """Checks what may not change.

    Args:
        before: Settings of the run that is resumed, as plain data.
        now: Those of this run.
        path: The checkpoint of the former.

    Raises:
        UserError: For another seed, backbone, label maker or loss table, and another way to train that decides what the
            optimizer holds; both sides are named.
    """
    fixed = [(what, name, read(before), read(now)) for what, name, read in _FIXED]
    for what, name, old, new in (*fixed, *_namesakes(before, now)):
        if old != new:
            raise UserError(
                f"need the {what} of {path}, which is {old}, got {new}; set it as there, or start a run of its own",
                kind="other_run",
                arguments=(name,),
            )


def _namesakes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Classes of one's own that only their modules tell apart, by their whole paths; one that has moved is the same."""
    parts = [("label maker", "supervision", before["supervision"], now["supervision"])]
    parts.append(("backbone", "model.backbone", before["model"]["backbone"], now["model"]["backbone"]))
    shared = before["loss"].keys() & now["loss"].keys()
    parts += [(f"loss {name!r}", f"loss.{name}", before["loss"][name], now["loss"][name]) for name in sorted(shared)]
    for what, name, *sides in parts:
        if all(isinstance(side, Mapping) and TARGET in side for side in sides):
            old, new = (str(side[TARGET]) for side in sides)
            if old != new and _are_two_classes(old, new):
                yield what, name, old, new


def _are_two_classes(old: str, new: str) -> bool:
    try:
        return find_class(old) is not find_class(new)
    except UserError:
        return False  # it is not there any more


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A line for each setting that two runs have with different values, or only one has."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for name in sorted(old.keys() | new.keys()):
        values = [side.get(name, "not set") for side in (old, new)]
        # Also by their text: a limit_val_batches of 1 is one batch, of 1.0 all of them.
        if values[0] != values[1] or _text(values[0]) != _text(values[1]):
            yield f"{name} {_text(values[0])} -> {_text(values[1])}"


def _leaves(config: Mapping[str, Any], owner: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{owner}{key}"
        if name in UNCOMPARED or name == "model.pretrained":
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    """Small numbers as people write them: 5e-4."""
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:.6e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return "null" if value is None else str(value)
