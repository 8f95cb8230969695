"""Files that are there whole or not at all, also where a run is killed or the disk is full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, *, previous: Path | None = None) -> Iterator[Path]:
    """A path to write to, beside ``path``; at the end of the block the file takes its name. Makes missing folders.

    The content reaches the disk before the name does, so that a machine that loses power leaves no empty file.

    Args:
        path: Of the file.
        previous: What the file that was at ``path`` is called from then on; None where it is not kept.

    Raises:
        OSError: Where nothing can be written, with the path; what was at ``path`` stays as it is.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _to_disk(part)
        if previous is not None and path.is_file():
            path.replace(previous)
        part.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # that of a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_whole(source: Path, path: Path, *, previous: Path | None = None) -> None:
    """Copies a file; ``path`` has its whole content or what was there before, which ``previous`` has then."""
    with whole_file(path, previous=previous) as part:
        shutil.copyfile(source, part)
