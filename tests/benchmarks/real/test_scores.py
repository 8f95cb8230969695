"""Mean and spread of finished runs."""

from __future__ import annotations

import json
from statistics import stdev

import pytest
from benchmarks.real.__main__ import main
from benchmarks.real.scores import by_seed, ceiling_of, finished, table_rows

from afa_wsss.errors import UserError


def write_run(folder, **scores):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({f"val/{name}": value for name, value in scores.items()}))
    return folder


@pytest.fixture
def runs(tmp_path):
    for seed, (cam, branch) in enumerate([(40.0, 50.0), (42.0, 53.0), (41.0, 50.0)]):
        write_run(tmp_path / "runs" / f"seed{seed}", cam_best_miou=cam, miou=branch, par_miou=branch + 5, class_f1=80.0)
    return tmp_path / "runs"


def test_rows_hold_mean_spread_and_each_run(runs):
    rows = dict(table_rows(by_seed(finished([runs]))))
    assert list(rows) == ["CAM at its best", "branch", "branch after PAR", "image labels, F1"]
    assert rows["CAM at its best"] == [41.0, 1.0, 40.0, 42.0, 41.0]
    assert rows["branch"] == [51.0, pytest.approx(stdev([50, 53, 50])), 50.0, 53.0, 50.0]


def test_one_run_has_no_spread(runs):
    assert dict(table_rows(by_seed(finished([runs / "seed1"]))))["branch"] == [53.0, None, 53.0]


def test_folds_of_a_seed_are_one_run(tmp_path):
    for name, miou in {"seed0_fold0": 60.0, "seed0_fold1": 70.0, "seed1_fold0": 80.0, "seed1_fold1": 60.0}.items():
        write_run(tmp_path / name, miou=miou)
    assert by_seed(finished([tmp_path])) == {"seed0": {"val/miou": 65.0}, "seed1": {"val/miou": 70.0}}


def test_runs_of_one_name_in_two_folders_are_two(runs, tmp_path):
    write_run(tmp_path / "others" / "seed0", miou=10.0)
    found = by_seed(finished([runs / "seed0", tmp_path / "others"]))
    assert list(found) == ["runs/seed0", "others/seed0"]


def test_the_share_of_the_ceiling_is_that_of_its_best_score(runs, tmp_path):
    for seed in range(2):
        write_run(tmp_path / "masks" / f"seed{seed}", miou=70.0 + seed, par_miou=69.0)
    ceiling = ceiling_of(by_seed(finished([tmp_path / "masks"])))
    assert ceiling == 70.5
    rows = dict(table_rows(by_seed(finished([runs])), ceiling))
    assert rows["branch after PAR"][2] == pytest.approx(100 * 56 / 70.5)
    assert rows["image labels, F1"][2] is None


def test_the_command_prints_a_table_and_markdown_and_writes_it(runs, tmp_path, capsys):
    file = tmp_path / "table.md"
    main(["scores", str(runs), "--markdown", str(file)])
    said = capsys.readouterr().out
    assert "branch after PAR" in said.partition("|")[0]
    row = "| branch | 51.0 | 1.7 | 50.0 | 53.0 | 50.0 |"
    assert row in said
    assert row in file.read_text().splitlines()


def test_a_folder_without_a_finished_run_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"error: need the folder of a finished run, .* has no metrics\.json"):
        main(["scores", str(tmp_path)])
    with pytest.raises(UserError, match="need runs with val/miou as the ceiling"):
        ceiling_of({"seed0": {"val/class_f1": 3.0}})
