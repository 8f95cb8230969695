from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.report.page import write_report
from afa_wsss.report.results import read_history, write_results

METRICS = {
    "val/cam_miou": 44.21,
    "val/cam_par_miou": 50.0,
    "val/walk_miou": 43.0,
    "val/pseudo_label_miou": 58.0,
    "val/miou": 63.14,
    "val/cam_best_miou": 46.5,
    "val/cam_best_background": 0.38,
    "val/class_f1": 96.0,
    "val/iou/background": 80.0,
    "val/iou/<cat>": 71.26,
    "val/iou/dog": math.nan,
}
SETTINGS = {"name": "a <run>", "model": {"backbone": "mit_nano"}, "trainer": {"max_steps": 450}}
VOID = {"meta", "img"}
"""Elements that have no closing tag."""


class Balance(HTMLParser):
    """Fails where a tag is closed that was not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "montages").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "montages" / "step_000450.png")
    (tmp_path / "metrics.csv").write_text("epoch,step,train/affinity_loss,val/miou\n0,9,0.5,\n0,19,0.4,\n0,19,,33.0\n")
    return tmp_path


def test_the_page_is_whole_and_needs_nothing_beside_it(run_folder: Path):
    pictures = sorted((run_folder / "montages").glob("*.png"))
    history = read_history(run_folder / "metrics.csv")
    page = write_report(run_folder, METRICS, history, pictures, SETTINGS, {"background": (0, 0, 0)}).read_text("utf-8")
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert all(address.startswith("data:") for address in balance.addresses)
    assert "http" not in page
    assert "After 450 steps" in page


def test_the_page_shows_every_score_and_escapes_names(run_folder: Path):
    page = write_report(run_folder, METRICS, [], [], SETTINGS, {}).read_text("utf-8")
    for shown in ("63.1 %", "44.2", "+18.9", "\u22121.2", "46.5", "0.38", "&lt;cat&gt;", "71.3", "a &lt;run&gt;"):
        assert shown in page
    assert "<cat>" not in page
    assert ">dog<" not in page
    assert "<svg" not in page


def test_a_run_without_masks_has_a_page_too(run_folder: Path):
    page = write_report(run_folder, {"val/class_f1": 90.0}, [], [], {}, {}).read_text("utf-8")
    assert "90.0 %" in page
    assert "What each stage adds" not in page


def test_history_leaves_out_gaps(run_folder: Path):
    curves = {curve.name: curve.points for curve in read_history(run_folder / "metrics.csv")}
    assert curves == {"train/affinity_loss": [(9, 0.5), (19, 0.4)], "val/miou": [(19, 33.0)]}
    assert read_history(run_folder / "nowhere.csv") == read_history(None) == []


def test_results_are_flat_json_and_a_report(run_folder: Path):
    palette = np.zeros((3, 3), dtype=np.uint8)
    written = write_results(run_folder, METRICS, SETTINGS, ["<cat>", "dog"], palette, run_folder / "metrics.csv")
    scores = json.loads(written["scores"].read_text("utf-8"))
    assert scores["val/miou"] == 63.14
    assert scores["val/iou/dog"] is None
    page = written["report"].read_text("utf-8")
    assert len(re.findall("<polyline", page)) == 1
    assert written["pictures"] == run_folder / "montages"
