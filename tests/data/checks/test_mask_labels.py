from __future__ import annotations

from afa_wsss.data.checks.mask_labels import Shown, compare_all, compare_with_labels

NAMES = ("cat", "dog", "emu")


def shown(values: set[int], labels: set[int], name: str = "a") -> Shown:
    return Shown(name, frozenset(values), frozenset(labels))


def test_masks_with_the_classes_of_their_labels_are_fine() -> None:
    for values, labels in (({0, 1, 255}, {1}), ({0, 1}, {1, 2}), ({0}, set()), ({0, 1}, set())):
        assert compare_with_labels(shown(values, labels), "a.png", NAMES) == []


def test_classes_that_labels_lack_are_warned_of() -> None:
    (only,) = compare_with_labels(shown({0, 1, 3}, {1}), "masks/a.png", NAMES)
    assert (only.kind, only.name, only.level) == ("class not labeled", "a", "warning")
    assert "masks/a.png shows emu too" in only.message
    (only,) = compare_with_labels(shown({0, 3}, {1}), "masks/a.png", NAMES)
    assert (only.kind, only.level) == ("mask without classes", "warning")
    assert "masks/a.png shows none but emu; fix" in only.message
    (only,) = compare_with_labels(shown({0}, {1}), "masks/a.png", NAMES)
    assert "masks/a.png shows none; fix" in only.message
    (only,) = compare_with_labels(shown({0, 255}, {1}), "masks/a.png", NAMES)
    assert "masks/a.png shows none, and 255, which is read as unknown; fix" in only.message


def test_exchanged_ids_are_named_by_pairs() -> None:
    masks = [shown({0, 2}, {1}), shown({0, 1}, {2}), shown({0, 2, 3}, {1, 3}), shown({0, 1}, {2}), shown({0, 3}, {3})]
    (only,) = compare_all(masks, NAMES)
    assert (only.kind, only.level) == ("ids look exchanged", "warning")
    assert "cat where labels say dog (2 of 2), dog where labels say cat (2 of 2); check the order" in only.message


def test_a_few_wrong_masks_are_no_exchange() -> None:
    right = [shown({0, 1}, {1}), shown({0, 2}, {2}), shown({0, 1, 2}, {1, 2})] * 3
    assert compare_all([*right, shown({0, 1}, {2})], NAMES) == []
    assert compare_all([*right, *[shown({0, 1}, {2})] * 2], NAMES) == []
    assert compare_all([], NAMES) == []


def test_masks_without_background_are_warned_of() -> None:
    (only,) = compare_all([shown({1, 255}, {1}), shown({2, 255}, {2})], NAMES)
    assert (only.kind, only.level) == ("no background", "warning")
    assert "none of 2 has it (255 is read as unknown): the background is not scored" in only.message
    (only,) = compare_all([shown({1, 2}, {1, 2})] * 3, NAMES)
    assert "every pixel has a class" in only.message
    assert compare_all([shown({1}, {1})], NAMES) == []
