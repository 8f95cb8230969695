"""Which shards a data set has, and how many samples each holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from afa_wsss.data.files.parallel import thread_map
from afa_wsss.data.files.whole import whole_file
from afa_wsss.data.formats.folder_labels.splits import split_of
from afa_wsss.data.shards.tar_index import BLOCK, read_index
from afa_wsss.errors import UserError

SIZES = "sizes.json"
"""Samples of each shard by the name of its file, beside the shards: a habit of webdataset's users."""

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def find_shards(root: str, split: str) -> list[str]:
    """Paths of the shards of a split, in alphabetical order.

    Args:
        root: A folder with ``<split>-*.tar``, ``<split>/*.tar`` or ``*.tar``, the first that is there; or a pattern,
            ``shards/train-{000000..000123}.tar`` or ``shards/train-*.tar``.
        split: Name of the split; not used for a pattern.

    Raises:
        UserError: Where there is none, one of a pattern with braces is missing, or ``*.tar`` finds a shard whose name
            is that of another split.
    """
    if "://" in root or root.startswith("pipe:"):
        raise UserError(f"need shards on a disk, got {root}; copy or mount them", arguments=("root",))
    folder = Path(root)
    if not root.endswith(".tar"):
        patterns = (f"{split}-*.tar", f"{split}/*.tar", "*.tar")
        found = next(filter(None, (_glob(folder, pattern) for pattern in patterns)), [])
        if not found:
            raise UserError(f"need tar files in {root}, found none; fix root", kind="missing", arguments=("root",))
        _check_split(found, root, split)
        return found
    if _BRACES.search(root) is None:
        found = _glob(folder.parent, folder.name)
        if not found:
            raise UserError(f"need tar files {root}, found none; fix root", kind="missing", arguments=("root",))
        return found
    return _existing(expanded(root))


def _check_split(shards: Sequence[str], root: str, split: str) -> None:
    """Refuses a shard of another split by the words of its name: ``photos-val-000.tar`` to train on."""
    wanted = split_of(split)
    for name in (Path(shard).name for shard in shards if wanted):
        named = {split_of(word) for word in re.split(r"[-_.]", name)} - {None, ""}
        if named and wanted not in named:
            raise UserError(
                f"need shards of {split} alone, {root} holds {name} too; give those that are meant as a pattern, such "
                f"as {root}/photos-{split}-*.tar",
                arguments=("root",),
            )


def expanded(pattern: str) -> list[str]:
    """A pattern with numbers in braces, as shells expand it.

    Example:
        >>> expanded("a-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    low, high = braces[1], braces[2]
    names = (
        pattern[: braces.start()] + str(number).zfill(len(low)) + pattern[braces.end() :]
        for number in range(int(low), int(high) + 1)
    )
    return [one for name in names for one in expanded(name)]


def beside(root: str) -> Path:
    """The folder of ``classes.txt``, ``sizes.json`` and ``val``: the root, or that of a pattern."""
    return Path(root).parent if root.endswith(".tar") else Path(root)


def read_sizes(shards: Sequence[str]) -> dict[str, int]:
    """Samples by shard, of those that ``sizes.json`` in their folder names.

    Raises:
        UserError: Where it holds anything else.
    """
    path = Path(shards[0]).parent / SIZES
    if not path.is_file():
        return {}
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except msgspec.MsgspecError as error:
        raise UserError(f"need the samples of each shard in {path} ({error}); write it anew or delete it") from error
    return {shard: known[Path(shard).name] for shard in shards if Path(shard).name in known}


def count_samples(shards: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """Samples by shard; headers are read of those that are not known.

    Raises:
        UserError: For a shard that is missing, compressed, cut off, or no tar.
    """
    others = [shard for shard in shards if shard not in known]
    counted = dict(zip(others, thread_map(lambda shard: len(read_index(shard).keys), others), strict=True))
    return {shard: known[shard] if shard in known else counted[shard] for shard in shards}


def write_sizes(folder: str, split: str = "train") -> Path:
    """Counts the samples of all shards of a split and writes ``sizes.json`` beside them, so that no start counts again.

    Raises:
        UserError: As ``find_shards`` and ``count_samples``.
    """
    shards = find_shards(folder, split)
    sizes = {Path(shard).name: count for shard, count in count_samples(shards, {}).items()}
    path = Path(shards[0]).parent / SIZES
    with whole_file(path) as part:
        part.write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    return path


def check_whole(shards: Sequence[str]) -> None:
    """Checks the sizes of files: a tar is whole blocks.

    Raises:
        UserError: For a shard that is empty or cut off.
    """
    for shard in shards:
        size = Path(shard).stat().st_size
        if size == 0 or size % BLOCK:
            raise UserError(f"need whole tar files, {shard} has {size} bytes; copy it again")


def _glob(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path) for path in folder.glob(pattern)) if folder.is_dir() else []


def _existing(names: Sequence[str]) -> list[str]:
    missing = [name for name in names if not Path(name).is_file()]
    if missing or not names:
        first = missing[0] if missing else "any"
        raise UserError(
            f"need all {len(names)} shards of the pattern, {len(missing)} are missing, the first is {first}; fix root",
            kind="missing",
            arguments=("root",),
        )
    return list(names)
