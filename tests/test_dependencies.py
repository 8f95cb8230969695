"""What the code imports, what pyproject.toml declares, and what CONTRIBUTING.md explains are the same packages."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES_OF_IMPORTS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "hydra": "hydra-core",
    "hydra_plugins": "hydra-optuna-sweeper",
    "optuna": "hydra-optuna-sweeper",
    "pydensecrf": "pydensecrf2",
    "yaml": "pyyaml",
}
"""Packages whose name on the registry differs from the name that is imported."""

LOADED_ON_USE = {"bitsandbytes", "hydra-optuna-sweeper", "pillow-heif", "wandb-workspaces"}
"""Packages of extras, each imported in one place, on its first use."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def normalized(requirement: str) -> str:
    """Name of a package without its version range, spelled as registries compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement)[0]).lower()


def imported_modules(source: str) -> Iterator[str]:
    """Top-level names of absolute imports anywhere in a module, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def imported_packages(sources: Iterable[Path]) -> set[str]:
    """Packages that files import, without the standard library and this repository's own folders."""
    modules = {name for path in sources for name in imported_modules(path.read_text("utf-8"))}
    modules -= sys.stdlib_module_names | {"afa_wsss", "tests", "benchmarks"}
    return {normalized(PACKAGES_OF_IMPORTS.get(name, name)) for name in modules}


def declared(requirements: Iterable[str]) -> set[str]:
    return {normalized(requirement) for requirement in requirements} - {"afa-wsss"}


def in_package() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


RUNTIME = declared(PROJECT["dependencies"])
OPTIONAL = declared(item for extra in PROJECT["optional-dependencies"].values() for item in extra)


def test_the_package_imports_what_it_declares_and_nothing_else():
    assert imported_packages(in_package()) == RUNTIME | LOADED_ON_USE
    assert LOADED_ON_USE <= OPTIONAL


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_tests_and_benchmarks_import_declared_packages_alone(folder: str):
    assert imported_packages((ROOT / folder).rglob("*.py")) - RUNTIME - OPTIONAL == set()


def test_no_package_is_both_required_and_optional():
    assert RUNTIME.isdisjoint(OPTIONAL)


def test_contributing_gives_a_reason_for_each_package():
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    reasons = {normalized(name.strip("`")): reason for name, reason, *_ in rows if name.startswith("`")}
    assert reasons.keys() == RUNTIME | OPTIONAL
    assert [name for name, reason in reasons.items() if len(reason.split()) < 2] == []


def test_imports_are_found_wherever_they_stand(tmp_path: Path):
    source = """
        import os, numpy.linalg
        from . import brother
        from afa_wsss.types import Batch
        if TYPE_CHECKING:
            from hydra.core import plugins
        def read():
            import cv2
            def inner():
                from PIL import Image
    """
    path = tmp_path / "module.py"
    path.write_text("if True:\n" + source, encoding="utf-8")
    assert imported_packages([path]) == {"numpy", "hydra-core", "opencv-python-headless", "pillow"}


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("PyYAML>=6", "pyyaml"),
        ("huggingface_hub", "huggingface-hub"),
        ("A.package[extra]>=6,<7; python_version < '3.12'", "a-package"),
    ],
)
def test_names_are_compared_as_registries_compare_them(requirement: str, name: str):
    assert normalized(requirement) == name
