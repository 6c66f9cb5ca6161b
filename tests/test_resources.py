import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evalkit
from evalkit import resources
from evalkit.errors import EvalkitError

PACKAGE = Path(evalkit.__file__).parent
ASK = "from evalkit import resources; print(resources.folder('tasks'))"


def ask_copy(root: Path) -> Path:
    done = subprocess.run([sys.executable, "-c", ASK], cwd=root, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def copy_package(root: Path) -> None:
    (root / "evalkit").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "resources.py"):
        shutil.copy(PACKAGE / name, root / "evalkit" / name)


@pytest.mark.parametrize("name", ["tasks", "prompts"])
def test_shipped_folders_are_found(name: str) -> None:
    assert any(resources.folder(name).iterdir())


def test_clone_and_sdist_have_folders_beside_the_package(tmp_path: Path) -> None:
    copy_package(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tasks").mkdir()
    assert ask_copy(tmp_path) == (tmp_path / "tasks").resolve()


def test_wheel_has_folders_in_the_package_and_ignores_strangers_beside_it(tmp_path: Path) -> None:
    copy_package(tmp_path)
    (tmp_path / "tasks").mkdir()  # some other distribution's
    (tmp_path / "evalkit" / "_data" / "tasks").mkdir(parents=True)
    assert ask_copy(tmp_path) == (tmp_path / "evalkit" / "_data" / "tasks").resolve()


def test_missing_folder_is_an_error_with_one_line() -> None:
    with pytest.raises(EvalkitError, match="no such folder") as caught:
        resources.folder("nothing")
    assert "\n" not in str(caught.value)
