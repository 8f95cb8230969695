from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afa_wsss.report.charts import Curve
from afa_wsss.report.page import LINE_COLORS, STAGE_COLORS, stage_colors, write_report
from afa_wsss.report.results import RunInfo, read_history, write_results

METRICS = {
    "val/cam_miou": 44.21,
    "val/cam_par_miou": 50.0,
    "val/second_walk_miou": 43.0,
    "val/pseudo_label_miou": 58.0,
    "val/miou": 63.14,
    "val/cam_best_miou": 46.5,
    "val/cam_best_background": 0.38,
    "val/second_walk_best_miou": 45.25,
    "val/second_walk_best_background": 0.41,
    "val/class_f1": 96.0,
    "val/iou/background": 80.0,
    "val/iou/<cat>": 71.26,
    "val/iou/dog": math.nan,
}
STAGES = ("cam", "cam_par", "second_walk", "pseudo_label", "segmentation", "crf")
LOSSES = ("classification", "regularization", "affinity", "a", "b", "c", "d", "e")
PALETTE = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6]], dtype=np.uint8)
RUN = RunInfo(
    name="a <run>",
    class_names=["<cat>", "dog"],
    palette=PALETTE,
    stages=STAGES,
    losses=LOSSES,
    marks={"labels from the CAM": 10},
    facts=[("backbone", "mit_nano"), ("training steps", "450")],
    settings="model: {backbone: mit_nano}  # <first>",
)
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


def page_of(folder: Path, metrics: dict[str, float], run: RunInfo = RUN, history: Sequence[Curve] = ()) -> str:
    pictures = sorted((folder / "montages").glob("*.png"))
    return write_report(folder, metrics, run, history, pictures).read_text("utf-8")


def titles_of_charts(page: str) -> list[str]:
    return re.findall(r"<figcaption>([^<]*)</figcaption>\s*<svg", page)


def test_the_page_is_whole_and_needs_nothing_beside_it(run_folder: Path):
    page = page_of(run_folder, METRICS, history=read_history(run_folder / "metrics.csv"))
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert all(address.startswith("data:") for address in balance.addresses)
    assert "http" not in page
    assert "After 450 steps" in page


def test_the_page_shows_every_score_and_escapes_names(run_folder: Path):
    page = page_of(run_folder, METRICS)
    for shown in (
        "63.1 %",
        "58.0 %",
        "44.2",
        "+18.9",
        "\u22121.2",
        "46.5",
        "0.38",
        "&lt;cat&gt;",
        "71.3",
        "a &lt;run&gt;",
    ):
        assert shown in page
    for shown in ("mit_nano", "450", "&lt;first&gt;", "rgb(1, 2, 3)", "second walk", "45.2", "0.41", "over CAM"):
        assert shown in page
    assert "<cat>" not in page
    assert ">dog<" not in page
    assert "<svg" not in page


def test_the_stages_of_another_method_have_rows_and_a_gain_over_the_first(run_folder: Path):
    run = RUN._replace(stages=("seeds", "segmentation"))
    page = page_of(run_folder, {"val/seeds_miou": 40.0, "val/miou": 52.5}, run)
    for shown in (">seeds<", "over seeds", "+12.5", "mIoU of the seeds"):
        assert shown in page
    assert "CAM" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_a_run_without_masks_has_a_page_too(run_folder: Path):
    metrics = {"val/class_f1": 90.0}
    for what, (cat, dog) in {"photos": (3, 0), "f1": (90.0, math.nan), "threshold": (0.37, math.nan)}.items():
        metrics |= {f"val/class_{what}/<cat>": cat, f"val/class_{what}/dog": dog}
    page = page_of(run_folder, metrics, RUN._replace(losses=(), marks={}, facts=(), settings=""))
    assert "90.0 %" in page
    for shown in ("Image labels of each class", "0.37", "F1 leaves out dog: no held-out photo has it."):
        assert shown in page
    for missing in ("What each stage adds", "IoU", "target", "What the labels call the pixels"):
        assert missing not in page


def test_the_page_shows_what_labels_call_the_pixels_and_warns(run_folder: Path):
    shares = {"foreground": 97.0, "background": 2.0, "unknown": 1.0, "class/<cat>": 96.5, "class/dog": 0.5}
    metrics = {f"train/labels/{what}": share for what, share in shares.items()}
    history = [Curve(name, [(0, share), (20, share)]) for name, share in metrics.items()]
    history.append(Curve("val/labels/cam/foreground", [(9, 30.0), (19, 31.0)]))
    page = page_of(run_folder, metrics, RUN._replace(thresholds={"supervision.low": 0.02}), history)
    warning = "labels call 96 % of the pixels &lt;cat&gt;: if the pictures show that this is wrong, train again with "
    assert f"<b>Warning:</b> {warning}higher supervision.low (now 0.02)." in page
    assert "What the labels call the pixels" in page
    assert titles_of_charts(page) == [
        "Labels in training, in percent of the pixels",
        "Labels in training by class, in percent of the pixels",
        "Foreground of held-out photos, in percent of the pixels",
    ]
    assert page.count(">labels from the CAM<") == 3


def test_the_page_shows_where_the_class_branch_looks(run_folder: Path):
    found = {"cam_border": 61.0, "inside_auc": 99.4, "outside_auc": 97.0, "outside_evidence": 66.4, "class_photos": 8}
    metrics = {f"val/{what}/<cat>": value for what, value in found.items()} | {"val/cam_border/dog": 4.0}
    metrics |= {f"val/affinity/{what}": 0.5 for what in ("mean", "spread", "below", "above")}
    metrics |= {"val/class_f1": 90.0, "val/class_f1/<cat>": 90.0, "val/predicted_photos/<cat>": 7.0}
    history = [
        Curve(f"val/{name}", [(0, 30.0), (20, 40.0)]) for name in ("cam_border", "outside_auc", "affinity/above")
    ]
    page = page_of(run_folder, metrics, history=history)
    for shown in ("Where the class branch looks", ">61.0 %<", ">0.99<", ">0.97<", ">66 %<", ">4.0 %<", ">\u2013<"):
        assert shown in page
    assert (
        "<b>Warning:</b> CAMs lie at the border of the photos, 36 % of the area: 61 % of the mass of &lt;cat&gt;"
        in page
    )
    assert "Affinity of near tokens: 0.50 on average" in page
    assert '<td class="number">8</td><td class="number">7</td>' in page
    assert titles_of_charts(page) == [
        "CAM at the border, in percent of its mass",
        "What tells a class, AUC in percent",
        "Affinity of near tokens, in percent of the pairs",
    ]
    balance = Balance()
    balance.feed(page)
    assert balance.open == []


def test_classes_that_the_scores_leave_out_are_named(run_folder: Path):
    assert "mIoU leaves out dog: no held-out mask shows it." in page_of(run_folder, METRICS)


def test_every_loss_is_drawn_and_a_huge_one_by_itself(run_folder: Path):
    sizes = dict.fromkeys(LOSSES, 0.5) | {"regularization": -3e6}
    history = [Curve(f"train/{name}_loss", [(0, size), (20, size / 2)]) for name, size in sizes.items()]
    page = page_of(run_folder, {}, history=[*history, Curve("train/loss", [(0, 1.0), (20, 0.5)])])
    assert titles_of_charts(page) == ["Losses", "Loss: regularization"]
    colors = re.findall(r'<polyline [^>]*style="stroke: var\(--([\w-]+)\)', page)
    assert sorted(colors) == sorted([*LINE_COLORS, "ink"])
    for name in LOSSES:
        assert f"</i>{name} <b>" in page
    assert "\u22121.50M" in page
    assert page.count(">labels from the CAM<") == 2


def test_no_two_charts_of_losses_have_one_title(run_folder: Path):
    sizes = {"a": 0.5, "b": 0.4, "c": 1e6, "d": 2e6}
    history = [Curve(f"train/{name}_loss", [(0, size), (20, size / 2)]) for name, size in sizes.items()]
    page = page_of(run_folder, {}, RUN._replace(losses=tuple(sizes)), history)
    assert titles_of_charts(page) == ["Losses: a, b", "Losses: c, d"]


def test_one_loss_has_no_total(run_folder: Path):
    history = [Curve(name, [(0, 1.0), (20, 0.5)]) for name in ("train/loss", "train/own_loss")]
    page = page_of(run_folder, {}, RUN._replace(losses=("own",)), history)
    assert titles_of_charts(page) == ["Loss: own"]
    assert page.count("<polyline") == 1


def test_every_stage_is_drawn_in_the_color_of_its_row(run_folder: Path):
    keys = ("val/cam_miou", "val/second_walk_miou", "val/miou", "val/unlisted_miou")
    history = [Curve(key, [(0, 40.0), (20, 41.0)]) for key in keys]
    page = page_of(run_folder, METRICS, history=history)
    assert titles_of_charts(page) == ["Validation mIoU in percent"]
    colors = re.findall(r'<polyline [^>]*style="stroke: var\(--([\w-]+)\)', page)
    assert colors == ["stage-0", "stage-2", "accent"]
    rows = re.findall(r'<i style="width: [\d.]+%; background: var\(--([\w-]+)\)', page)
    keys_below = re.findall(r'<span><i style="background: var\(--([\w-]+)\)', page)
    assert rows == ["stage-0", "stage-1", "stage-2", "stage-3", "accent"]
    assert keys_below == colors


def test_other_curves_have_charts(run_folder: Path):
    history = [Curve(key, [(0, 40.0), (20, 41.0)]) for key in ("val/class_f1", "train/images_per_second")]
    charts = titles_of_charts(page_of(run_folder, {}, history=history))
    assert charts == ["F1 of the image labels in percent", "Images per second"]


def test_the_branch_keeps_its_color_and_the_others_take_turns():
    others = [f"stage_{index}" for index in range(9)]
    colors = stage_colors(["segmentation", *others, "crf"])
    assert colors["segmentation"] == "accent"
    assert [colors[name] for name in others] == [*STAGE_COLORS, STAGE_COLORS[0]]
    assert colors["crf"] not in (*STAGE_COLORS, "accent")


def test_the_page_defines_every_color_for_light_and_dark(run_folder: Path):
    page = page_of(run_folder, {})
    for color in (*STAGE_COLORS, *LINE_COLORS, *stage_colors([]).values(), "ink"):
        assert page.count(f" --{color}: #") == 2, color


def test_history_leaves_out_gaps(run_folder: Path):
    curves = {curve.name: curve.points for curve in read_history(run_folder / "metrics.csv")}
    assert curves == {"train/affinity_loss": [(9, 0.5), (19, 0.4)], "val/miou": [(19, 33.0)]}
    assert read_history(run_folder / "nowhere.csv") == read_history(None) == []


def test_history_is_read_as_it_is_written(tmp_path: Path):
    """Also where the name of a class has a separator of lines that CSV does not know."""
    log = tmp_path / "metrics.csv"
    log.write_text('epoch,step,"val/iou/a\u2028b",val/miou\n0,9,1.0,2.0\n0,19,3.0\n', encoding="utf-8", newline="")
    assert [curve.name for curve in read_history(log)] == ["val/iou/a\u2028b", "val/miou"]


def test_the_picture_is_the_one_that_was_drawn_last(run_folder: Path):
    """A run that went back to an earlier step has the pictures of later ones."""
    earlier = run_folder / "montages" / "step_001000.png"
    Image.new("RGB", (4, 4)).save(earlier)
    os.utime(earlier, (1, 1))
    page = write_results(run_folder, METRICS, RUN, None)["report"].read_text("utf-8")
    assert "1,000 steps" not in page


def test_results_are_flat_json_and_a_report(run_folder: Path):
    written = write_results(run_folder, METRICS, RUN, run_folder / "metrics.csv")
    scores = json.loads(written["scores"].read_text("utf-8"))
    assert scores["val/miou"] == 63.14
    assert scores["val/iou/dog"] is None
    page = written["report"].read_text("utf-8")
    assert len(re.findall("<polyline", page)) == 1
    assert written["pictures"] == run_folder / "montages"


def test_results_of_an_evaluation_have_neither_curves_nor_pictures(tmp_path: Path):
    written = write_results(tmp_path / "new", METRICS, RUN._replace(losses=()), None)
    assert written.keys() == {"scores", "report"}
    assert "<svg" not in written["report"].read_text("utf-8")


def test_scores_that_are_not_finite_are_null(tmp_path):
    values = {"val/miou": 50.0, "train/loss": math.inf, "val/iou/fish": math.nan}
    written = write_results(tmp_path, values, RUN._replace(losses=()), None)
    assert json.loads(written["scores"].read_text(), parse_constant=pytest.fail) == {
        "train/loss": None,
        "val/iou/fish": None,
        "val/miou": 50.0,
    }
