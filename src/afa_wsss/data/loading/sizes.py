"""Sizes of photos that are shrunk, as plain numbers: checks need them without OpenCV."""

from __future__ import annotations

from afa_wsss.errors import UserError


def shrunk_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Height and width with the longer one at most ``max_side``, in the same proportions; None leaves them.

    Raises:
        UserError: For ``max_side`` below 1.

    Example:
        >>> shrunk_size(3000, 4000, 1024), shrunk_size(300, 400, 1024)
        ((768, 1024), (300, 400))
    """
    if max_side is not None and max_side < 1:
        raise UserError(f"need max_side of at least 1, got {max_side}", arguments=("max_side",))
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return height, width
    factor = max_side / longest
    return max(1, round(height * factor)), max(1, round(width * factor))
