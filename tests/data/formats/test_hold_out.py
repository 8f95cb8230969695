"""Which photos are held out where neither labels nor folders say it."""

from __future__ import annotations

from afa_wsss.data.formats.folder_labels.reading import TaggedPhoto
from afa_wsss.data.formats.folder_labels.splits import hold_out


def test_one_in_ten_is_held_out_where_there_are_no_masks_and_always_the_same_ones() -> None:
    photos = [TaggedPhoto(f"{index}.jpg", ("dog",)) for index in range(1000)]
    paths = [photo.file for photo in photos]
    held_out = hold_out(photos, paths, [False] * 1000).flags
    assert 70 < sum(held_out) < 130
    assert hold_out(photos[::-1], paths[::-1], [True] * 1000).flags == held_out[::-1]
    for count in (2, 3, 5):
        assert 0 < sum(hold_out(photos[:count], paths[:count], [False] * count).flags) < count


def test_masks_do_not_hold_out_every_photo_with_a_class() -> None:
    """Where negatives alone have no mask, one photo in ten is held out, and at least one with a mask."""
    for count in (2, 5, 100):
        photos = [TaggedPhoto(f"{index}.jpg", ("dog",) if index < count else ()) for index in range(3 * count)]
        has_mask = [bool(photo.labels) for photo in photos]
        held_out = hold_out(photos, [photo.file for photo in photos], has_mask).flags
        assert 0 < sum(held_out[:count]) <= count // 2
        assert sum(held_out[count:]) <= count // 2
