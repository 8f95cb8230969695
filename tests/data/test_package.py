from __future__ import annotations

import subprocess
import sys

import pytest

import afa_wsss.data


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, afa_wsss.data; assert not {'torch', 'albumentations', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_exported_name_is_there_without_torch() -> None:
    names = ", ".join(afa_wsss.data.__all__)
    code = f"from afa_wsss.data import {names}; import sys; assert not {{'torch', 'cv2'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(afa_wsss.data.__all__) <= set(dir(afa_wsss.data))


def test_other_names_are_missing() -> None:
    with pytest.raises(ImportError, match="cannot import name 'ImageNet'"):
        from afa_wsss.data import ImageNet  # type: ignore[attr-defined]  # noqa: F401
