"""Whose a directory is: the file by which a run, a scan or a study is known, so that no other command writes there."""

from __future__ import annotations

from pathlib import Path

RUN = "run.json"  # of a scan too
STUDY = "study.json"
OWNERS = {RUN: "a run or scan", STUDY: "a study"}


def of(directory: Path) -> str | None:
    """Name what a directory holds that other commands must not write into; None where it holds nothing of the kind."""
    return next((what for name, what in OWNERS.items() if (directory / name).exists()), None)
