"""Labels as webdataset's users write them."""

from __future__ import annotations

import pytest

from afa_wsss.data.shards.tags import tags_of
from afa_wsss.errors import UserError

NAMES = ("cat", "hot dog", "person")


@pytest.mark.parametrize(
    ("suffix", "content", "tags"),
    [
        ("cls", b"1", ("hot dog",)),
        ("cls", b"0 2\n", ("cat", "person")),
        ("cls", b"person", ("person",)),
        ("txt", b"cat\nperson\n", ("cat", "person")),
        ("txt", b"\xef\xbb\xbfcat, hot dog", ("cat", "hot dog")),
        ("txt", b"hot dog", ("hot dog",)),
        ("txt", b"", ()),
        ("txt", b"none", ()),
        ("txt", b"cat;cat;background", ("cat",)),
        ("json", b'["cat", "tree"]', ("cat", "tree")),
        ("json", b'{"caption": "a", "Tags": ["cat"]}', ("cat",)),
        ("json", b'{"label": 2}', ("person",)),
        ("json", b'{"labels": null}', ()),
        ("json", b'{"labels": []}', ()),
        ("json", b'{"class": "cat|person"}', ("cat", "person")),
        ("json", b'{"keywords": [], "label": "cat"}', ("cat",)),
        ("json", b'{"tags": null, "labels": "", "class": 0}', ("cat",)),
        ("json", b'{"labels": [], "tags": ["none"]}', ()),
        ("json", b'{"labels": ["background"], "tags": ["cat"]}', ()),
    ],
)
def test_tags_are_read(suffix, content, tags):
    assert tags_of({suffix: content}, NAMES) == tags


def test_an_entry_without_labels_leaves_them_to_the_next():
    assert tags_of({"json": b'{"width": 4}', "txt": b"cat"}) == ("cat",)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "no labels"),
        ({"json": b'{"width": 4}'}, "no labels"),
        ({"json": b"{"}, "cannot be read"),
        ({"json": b'{"labels": [{"name": "cat"}]}'}, "names or numbers of classes"),
        ({"json": b'{"labels": true}'}, "names or numbers of classes"),
        ({"txt": b"\xff\xfe\xfd"}, "cannot be read"),
        ({"cls": b"3"}, "class number 3, classes.txt has 3"),
        ({"json": b'{"label": -1}'}, "class number -1, classes.txt has 3"),
    ],
)
def test_what_holds_no_tags_is_an_error(entries, message):
    with pytest.raises(UserError, match=message):
        tags_of(entries, NAMES)


@pytest.mark.parametrize("entries", [{"json": b'{"labels": [0, 0, 1]}'}, {"cls": b"1 1 0"}, {"json": b"[0, 0, 0]"}])
def test_zero_and_one_for_each_class_are_refused(entries):
    with pytest.raises(UserError, match="may be 0 and 1 for each class, or numbers of classes: write names"):
        tags_of(entries, NAMES)


def test_zero_and_one_for_each_class_but_background_are_refused():
    with pytest.raises(UserError, match="write names"):
        tags_of({"cls": b"1 0"}, ("background", "cat", "dog"))


def test_numbers_of_objects_are_classes_each_once():
    assert tags_of({"cls": b"0 0 2 2"}, NAMES) == ("cat", "person")
    assert tags_of({"json": b'{"labels": [0, 1]}'}, NAMES[:2]) == NAMES[:2]


def test_na_is_a_class_where_it_is_listed():
    assert tags_of({"txt": b"NA"}, ("NA", "EU")) == ("NA",)
    assert tags_of({"txt": b"NA"}) == ()
