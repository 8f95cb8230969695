from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BELOW_TRAINING = ("ops", "models", "losses", "supervision", "inference", "evaluation", "data", "report")


def modules_after(statement: str) -> set[str]:
    """Names in ``sys.modules`` after a statement in a fresh interpreter."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_is_light_to_import():
    loaded = {name.partition(".")[0] for name in modules_after("import afa_wsss") - modules_after("pass")}
    assert loaded - sys.stdlib_module_names == {"afa_wsss"}


@pytest.mark.slow
def test_below_training_nobody_loads_lightning_or_hydra():
    loaded = modules_after("; ".join(f"import afa_wsss.{part}" for part in BELOW_TRAINING))
    assert not loaded & {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"}


def test_versions_agree():
    import afa_wsss

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert afa_wsss.__version__ == version == citation["version"] == newest[1]
    assert citation["date-released"].isoformat() == newest[2]


def test_the_citation_names_the_package_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (citation["cff-version"], citation["type"], citation["title"]) == ("1.2.0", "software", "afa_wsss")
    assert citation["license"] == project["license"]
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Ru", "Zhan", "Yu", "Du"]
    assert paper["identifiers"][0]["value"] == "arXiv:2203.02664"


def test_constraints_are_pins_and_hold_every_requirement():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin)] == []
    names = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    missing = {re.match(r"[A-Za-z0-9-]+", item)[0].lower() for item in wanted} - names - {"afa-wsss"}
    assert missing == set()


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_configuration(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    package = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    conf = {f"afa_wsss/conf/{path.relative_to(ROOT / 'conf').as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped == {name for name in package if "__pycache__" not in name} | conf
    assert {"afa_wsss/py.typed", "afa_wsss/report/page.html", "afa_wsss/conf/train.yaml"} <= shipped


def test_continuous_integration_runs_both_checks_on_every_supported_python():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    supported = [match[1] for name in classifiers if (match := re.fullmatch(r".* :: Python :: (3\.\d+)", name))]
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == supported
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make check", "make test"]
