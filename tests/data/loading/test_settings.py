from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.data.samples import Noise

from afa_wsss.data import CropSettings, DataSettings, VOCDataset
from afa_wsss.data.base import SegmentationDataset
from afa_wsss.data.checks.problems import Problem
from afa_wsss.errors import UserError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop_size": 16}, "need crop_size of at least 32, got 16"),
        ({"scale": (2.0, 0.5)}, r"need scale as \(smallest, largest\) with 0 < smallest <= largest, got \(2.0, 0.5\)"),
        ({"scale": (0.0, 1.0)}, "need scale as"),
        ({"scale": (1.0,)}, "need scale as"),
        ({"mirror": 1.5}, r"need mirror in \[0, 1\], got 1.5"),
        ({"jitter": -0.1}, r"need jitter in \[0, 1\], got -0.1"),
        ({"batch_size": 0}, "need batch_size of at least 1, got 0"),
        ({"eval_batch_size": 0}, "need eval_batch_size of at least 1, got 0"),
        ({"num_workers": -1}, "need num_workers of at least 0, got -1"),
        ({"max_side": 16}, "need max_side of at least 32, got 16"),
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as refusal:
        DataSettings(**wrong)
    assert refusal.value.arguments == tuple(wrong)


def test_a_list_of_scales_becomes_a_tuple() -> None:
    assert CropSettings(scale=[0.8, 1.4]) == CropSettings(scale=(0.8, 1.4))  # type: ignore[arg-type]
    assert hash(DataSettings(scale=[0.8, 1.4]))  # type: ignore[arg-type]


def test_each_split_is_opened_by_its_use(voc: Path) -> None:
    found: list[Problem] = []
    settings = DataSettings(
        dataset=partial(VOCDataset, difficult=False), root=str(voc), train_split="train", val_split="held_out"
    )
    dataset = settings.open_split("train", with_masks=True, report=found.extend)
    assert isinstance(dataset, VOCDataset)
    assert (dataset.split, dataset.with_masks, dataset.difficult) == ("train", True, False)
    assert dataset.report == found.extend
    with pytest.raises(UserError, match=r"need a list of photos at .*held_out\.txt"):
        settings.open_split("val", with_masks=True)


def test_a_data_set_may_take_neither_root_nor_report() -> None:
    opened = []

    def open_database(*, split: str, with_masks: bool) -> SegmentationDataset:
        opened.append((split, with_masks))
        return Noise()

    settings = DataSettings(dataset=open_database, train_split="new")
    assert isinstance(settings.open_split("train", with_masks=False, report=lambda _: None), Noise)
    assert opened == [("new", False)]


def test_errors_of_a_split_name_the_setting_that_it_is_from() -> None:
    def refuse(*, split: str, with_masks: bool) -> SegmentationDataset:
        raise UserError("need another split", arguments=("split",))

    for use in ("train", "val"):
        with pytest.raises(UserError) as refusal:
            DataSettings(dataset=refuse, train_split="a", val_split="b").open_split(use, with_masks=False)
        assert refusal.value.arguments == (f"{use}_split",)


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"dataset": VOCDataset, "root": "voc"}, "val_split"),
        ({"val_split": "a"}, "dataset"),
        ({"dataset": {"difficult": True}, "val_split": "a"}, "dataset"),
        ({"dataset": VOCDataset, "val_split": "a"}, "root"),
    ],
)
def test_what_is_missing_to_open_a_split_is_named(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(UserError, match=f"got {argument}=") as refusal:
        DataSettings(**settings).open_split("val", with_masks=False)
    assert refusal.value.arguments == (argument,)


@pytest.mark.parametrize("root", [None, "photos"])
def test_a_split_without_photos_is_refused(root: str | None) -> None:
    def open_empty(*, split: str, with_masks: bool, root: str | None = None) -> list[Any]:
        return []

    where = r"'typo'" if root is None else r"'typo' of photos"
    for use in ("train", "val"):
        settings = DataSettings(dataset=open_empty, root=root, train_split="typo", val_split="typo")
        with pytest.raises(UserError, match=f"need photos in the split {where}, got none") as refusal:
            settings.open_split(use, with_masks=False)
        assert refusal.value.arguments == (f"{use}_split",)


def test_a_root_may_be_bound_to_the_data_set(voc: Path) -> None:
    settings = DataSettings(dataset=partial(VOCDataset, root=voc), train_split="train")
    assert len(settings.open_split("train", with_masks=False)) == 3


def test_the_range_of_values_is_handed_to_data_sets_of_files(voc: Path) -> None:
    settings = DataSettings(dataset=VOCDataset, root=str(voc), train_split="train", value_range=[0, 4095])
    assert settings.value_range == (0, 4095)
    opened = settings.open_split("train", with_masks=False)
    assert isinstance(opened, VOCDataset)
    assert opened.shared_range.setting == (0, 4095)
    with pytest.raises(
        UserError, match=r"need value_range as auto or \[low, high\] with low < high, got \[1, 0\]"
    ) as refusal:
        DataSettings(value_range=[1, 0])
    assert refusal.value.arguments == ("value_range",)


def test_a_data_set_without_a_range_of_values_refuses_one() -> None:
    settings = DataSettings(dataset=lambda **_: Noise(), train_split="a", value_range=(0, 1))
    with pytest.raises(UserError, match="need a data set with value_range to set it, Noise has none; leave it at auto"):
        settings.open_split("train", with_masks=False)
