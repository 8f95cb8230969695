"""What a file is by its first bytes: a picture that can be read, one that needs an extra package, or something else."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import EpsImagePlugin, Image, features

from afa_wsss.data.base import FilePath
from afa_wsss.data.checks.problems import Problem

HEAD = 64
"""First bytes of a file that are looked at."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"IIRO", "camera RAW"),
    (b"IIU\0", "camera RAW"),
    (b"FUJIFILMCCD-RAW", "camera RAW"),
    (b"FOVb", "camera RAW"),
    (b"%PDF", "PDF"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"),
    (b"FLV\x01", "video"),
    (b"0&\xb2u\x8ef\xcf\x11", "video"),
    (b"PK\x03\x04", "archive"),
    (b"Rar!", "archive"),
    (b"7z\xbc\xaf", "archive"),
    (b"\x1f\x8b", "archive"),
    (b"\x93NUMPY", "NumPy array"),
    (b"gimp xcf", "GIMP project"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
"""First bytes and what they mean; formats that more than their first bytes tell apart are found below."""

PHOTO_KINDS = ("JPEG", "PNG", "GIF", "TIFF", "WebP", "JPEG 2000", "PSD", "picture")
"""Kinds that Pillow always reads; ``picture`` stands for its rarer formats."""

RAW_SUFFIXES = (
    *(".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".gpr", ".rwl", ".3fr", ".fff", ".iiq", ".mef", ".mos", ".erf", ".kdc", ".dcr"),
)
"""Camera RAW. Many are TIFFs whose first page is a thumbnail: reading that in silence would be wrong."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
AVIF_BRANDS = (b"avif", b"avis")

UNREADABLE_FORMATS = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EMF")
"""Formats that Pillow recognizes and cannot decode by itself."""

HEIC_EXTRA = 'pip install "afa-wsss[heic]"'

ADVICE = {
    "HEIC": f"HEIC needs pillow-heif: {HEIC_EXTRA}",
    "AVIF": 'AVIF needs Pillow 11.3 or later with AVIF: pip install --upgrade "pillow>=11.3"',
    "JPEG XL": "JPEG XL is not supported; convert to JPEG or PNG",
    "camera RAW": "camera RAW is not developed here; export as JPEG or PNG",
    "PDF": "a PDF is no photo; export its pages as JPEG or PNG",
    "PostScript": "PostScript is no photo; export as JPEG or PNG",
    "SVG": "SVG has no pixels; export as PNG",
    "video": "a video is no photo; export its frames as JPEG or PNG",
    "archive": "an archive is not opened; unpack it",
    "GIMP project": "a GIMP project is not read; export as PNG",
    "NumPy array": "NumPy arrays are not read; save as PNG or TIFF",
    "Git LFS pointer": "a pointer of Git LFS is not the file itself; run: git lfs pull",
    "HTML": "this is a web page, perhaps of a failed download; download the photo again",
    "text": "text is no photo",
    "empty": "the file is empty; copy it again",
    "other": "no format that Pillow reads",
}
"""What to do, by the kind of a file that is no photo."""

LOST = ("HEIC", "AVIF", "JPEG XL", "camera RAW", "video", "PDF", "PostScript", "GIMP project", "archive", "NumPy array")
"""Kinds in which somebody's photos may be: skipping them is a warning, as for broken files with a picture's suffix."""


class Skipped(NamedTuple):
    """Files of one kind and suffix that are no photos.

    Attributes:
        kind: A key of ``ADVICE``.
        suffix: In lower case with its dot; empty for none.
        files: Their paths.
    """

    kind: str
    suffix: str
    files: list[Path]


@cache
def picture_suffixes() -> frozenset[str]:
    """Every suffix that Pillow knows, and those of HEIC and AVIF, in lower case with the dot."""
    return frozenset(Image.registered_extensions()) | {".heic", ".heif", ".hif", ".avif"}


@cache
def reads_heic() -> bool:
    """Whether pillow-heif is installed; on the first call it registers itself with Pillow."""
    if find_spec("pillow_heif") is None:
        return False
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return True


def kind_of_file(path: FilePath) -> str:
    """What a file is: one of ``PHOTO_KINDS``, ``HEIC``, ``AVIF``, or another key of ``ADVICE``; reads its first bytes.

    Raises:
        OSError: Where the file cannot be opened.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # see FilePath
        head = file.read(HEAD)
    if str(path).lower().endswith(RAW_SUFFIXES):
        return "camera RAW"
    return kind_of_bytes(head) or _kind_by_pillow(path, head)


def kind_of_bytes(head: bytes) -> str | None:
    """The kind of a file that begins with ``head``; None where only Pillow can tell."""
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        return _kind_by_brands(head)
    if head[:3] in (b"II*", b"MM\0") and head[8:10] == b"CR":
        return "camera RAW"
    return next((kind for start, kind in SIGNATURES if head.startswith(start)), None if head else "empty")


def _kind_by_brands(head: bytes) -> str:
    """HEIC, AVIF, camera RAW or video: files of boxes, the first of which lists their brands."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, min(size, len(head)), 4))]
    for kind, known in (("AVIF", AVIF_BRANDS), ("HEIC", (*HEIC_BRANDS, b"mif1", b"msf1")), ("camera RAW", (b"crx ",))):
        if any(brand in known for brand in brands):
            return kind
    return "video"


def _kind_by_pillow(path: FilePath, head: bytes) -> str:
    """``picture`` where Pillow opens the file; else what its text looks like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                image_format = image.format or ""
        except Image.DecompressionBombError:
            return "picture"
        except Exception:  # noqa: BLE001  # plugins raise anything on bytes that only look like their format
            image_format = ""
    if image_format == "EPS":
        return "picture" if EpsImagePlugin.has_ghostscript() else "PostScript"
    if image_format == "MPEG":
        return "video"
    if image_format and image_format not in UNREADABLE_FORMATS:
        return "picture"
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if start.startswith(b"<svg"):
        return "SVG"
    return "other" if re.search(rb"[\0-\x08\x0e-\x1a]", head) else "text"


def is_readable(kind: str) -> bool:
    """Whether pictures of a kind can be opened here, with the packages that are installed."""
    if kind == "AVIF":
        return bool(features.check("avif"))
    return kind in PHOTO_KINDS or (kind == "HEIC" and reads_heic())


def skipped_files(paths: Iterable[Path]) -> list[Skipped]:
    """Files that are no photos, grouped by kind and suffix; the most frequent first."""
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in paths:
        try:
            kind = kind_of_file(path)
        except OSError:
            kind = "other"
        groups[kind, path.suffix.lower()].append(path)
    found = (Skipped(kind, suffix, files) for (kind, suffix), files in groups.items() if not is_readable(kind))
    return sorted(found, key=lambda group: -len(group.files))


def report_skipped(paths: Iterable[Path], source: Path) -> list[Problem]:
    """One line for each kind of file that is skipped: a warning where photos may be in it, else a note.

    Args:
        paths: Files that are not read as photos.
        source: The folder, for the message.
    """
    return [_as_problem(group, source) for group in skipped_files(paths)]


def _as_problem(group: Skipped, source: Path) -> Problem:
    count, first = len(group.files), group.files[0]
    what = f"{group.suffix or first.name} file{'s' * (count > 1)}"
    message = f"{count} {what} of {source} {'are' if count > 1 else 'is'} skipped, {first} first: {ADVICE[group.kind]}"
    lost = group.kind in LOST or group.suffix in picture_suffixes()
    return Problem(f"{group.kind} skipped", first.name, message, "warning" if lost else "note")
