"""Find the folders that evalkit ships, however it was installed."""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import EvalkitError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the shipped folder `name` (`tasks`, `prompts`).

    A clone, an editable install and an unpacked sdist have it beside the package, a wheel has it in `evalkit/_data`.
    Raises EvalkitError where neither is there.
    """
    # The marker keeps a stranger's folder of this name, beside a package in site-packages, from being taken for ours.
    root = _PACKAGE.parent
    candidates = [_PACKAGE / "_data" / name]
    if (root / "pyproject.toml").is_file():
        candidates.append(root / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise EvalkitError(f"{candidates[0]}: no such folder; this installation is incomplete, install evalkit again")
