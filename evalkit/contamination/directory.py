"""A scan's directory: whose it is, who is writing to it, and the results of its shards."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit import atomic, manifest, text
from evalkit.contamination import substrings
from evalkit.contamination.corpus.shards import Shard
from evalkit.contamination.index import Index
from evalkit.errors import StorageError

FILE = "run.json"
LOCK = "scan.lock"
SHARDS = "shards"
INDEX = "index"
KIND = "scan"
VERSION = 3  # of what a shard's result holds
CALLED = {
    "test": "test set, N, --kept or normaliser",
    "results": "version of evalkit",
    "text_field": "--text-field",
    "text_lines": "choice of --text-lines",
    "edited": "choice of --edited",
    "substrings": "choice of --substrings or --seed",
    "corpus": "--corpus",
}


def default(index: Index, settings: Any) -> Path:  # Any: scan.Settings, which imports this
    """Name a directory that only the same test set and the same places of a corpus lead to."""
    tasks = "+".join(dict.fromkeys(item.task.partition("/")[0] for item in index.items))[:60]
    return Path("reports") / f"scan-{tasks}-{text.digest(identity(index, settings), sorted(settings.corpus), length=8)}"


def identity(index: Index, settings: Any) -> dict[str, Any]:  # Any: scan.Settings, JSON
    """List what decides which matches a document has."""
    looked = index.looked
    drawn = None if looked.substrings is None else substrings.digest(looked.substrings)
    return {
        "results": VERSION,
        "test": index.digest,
        "text_field": settings.text_field,
        "text_lines": settings.text_lines,
        "edited": looked.sketches is not None,
        "substrings": drawn,
    }


def own_index() -> str:
    """Name the folder in which this process shares its index with its workers."""
    return f"{INDEX}-{socket.gethostname()}-{os.getpid()}"


@contextlib.contextmanager
def claim(directory: Path, described: dict[str, Any], *, is_part: bool) -> Iterator[None]:  # Any: JSON
    """Hold the directory for this scan, made where it is missing; parts of a job array hold it together.

    Raises StorageError where it cannot be written, another scan holds it, or it was made for another test set.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in directory.iterdir())
        strange = [name for name in present if not _is_ours(name)]
        if FILE not in present and strange:
            raise StorageError(
                f"{directory}: holds {strange[0]!r} but no {FILE}, so is not a scan; choose another --out"
            )
        (directory / SHARDS).mkdir(exist_ok=True)
        lock = (directory / LOCK).open("w")
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if is_part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"{directory}: another scan is writing there; wait for it, stop it, or choose another --out"
            ) from error
        _compare(directory, described)
        yield


def _is_ours(name: str) -> bool:
    return name in (LOCK, SHARDS) or name.startswith((f"{INDEX}-", f".{FILE}."))


def _compare(directory: Path, described: dict[str, Any]) -> None:  # Any: JSON
    try:
        before = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        atomic.write(directory / FILE, [json.dumps(described, indent=2, ensure_ascii=False), "\n"])
        return
    except (OSError, ValueError) as error:
        raise StorageError(f"{directory / FILE}: cannot be read, or damaged; choose another --out") from error
    if not isinstance(before, dict) or before.get("kind") != KIND:
        raise StorageError(f"{directory}: holds a run, not a scan; choose another --out")
    try:
        was, now = ({**each["identity"], "corpus": sorted(each["settings"]["corpus"])} for each in (before, described))
    except (KeyError, TypeError) as error:
        raise StorageError(f"{directory / FILE}: damaged, or of another version; choose another --out") from error
    other = [CALLED[name] for name in now if was.get(name) != now[name]]
    if other:
        raise StorageError(f"{directory}: made for another {' and '.join(other)}; choose another --out")


def describe(index: Index, settings: Any, shards: Sequence[Shard]) -> dict[str, Any]:  # Any: scan.Settings, JSON
    """List settings, hashes and versions for run.json."""
    fields = {name: str(value) if isinstance(value, Path) else value for name, value in _fields(settings).items()}
    files = {str(shard.path): shard.size for shard in shards}
    plain: dict[str, Any] = json.loads(
        json.dumps(
            {
                "kind": KIND,
                "identity": identity(index, settings),
                "settings": fields,
                "n": index.ngram,
                "corpus": [{"file": name, "bytes": size} for name, size in files.items()],
                "versions": manifest.versions(),
            }
        )
    )
    return plain


def stored_settings(directory: Path) -> dict[str, Any]:  # Any: the fields' own
    """Read back the settings of the scan that a directory was made for; StorageError where it holds none."""
    try:
        described = json.loads((directory / FILE).read_text(encoding="utf-8"))
        if described["kind"] != KIND:
            raise StorageError(f"{directory}: holds a run, not a scan; give the directory of a scan")
        settings = dict(described["settings"])
    except OSError as error:
        raise StorageError(f"{directory}: found no scan ({error.strerror}); give the directory of a scan") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{directory}: not a scan, or damaged; give the directory of a scan") from error
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def holds_scan(directory: Path) -> bool:
    """Whether a directory is that of a scan, finished or not."""
    return _described(directory).get("kind") == KIND


def holds_run(directory: Path) -> bool:
    """Whether a directory is that of a run, finished or not."""
    described = _described(directory)
    return "kind" not in described and "settings" in described


def _described(directory: Path) -> dict[str, Any]:  # Any: JSON
    """Read run.json; nothing where there is none, or it is damaged."""
    try:
        described = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _fields(settings: object) -> dict[str, Any]:  # Any: the fields' own
    assert dataclasses.is_dataclass(settings)
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def shard_file(directory: Path, shard: Shard, *, seen: dict[str, Any]) -> Path:  # Any: JSON
    """Name the file that holds one shard's result: another version of the corpus, another name."""
    piece = [str(shard.path), shard.form, shard.begin, shard.end, shard.of, shard.size, shard.modified]
    return directory / SHARDS / f"{text.digest(piece, seen, length=24)}.npz"


def remove_stale(directory: Path, files: Sequence[Path]) -> None:
    """Remove results of shards that are no longer in the plan, and what a killed process left half written."""
    wanted = {path.name for path in files}
    for path in (directory / SHARDS).iterdir():
        if path.name not in wanted:
            with contextlib.suppress(OSError):
                os.unlink(path)
    for path in directory.glob(f"{INDEX}-*"):
        shutil.rmtree(path, ignore_errors=True)


def finish(directory: Path, described: dict[str, Any], *, signature: str, totals: dict[str, Any]) -> None:  # Any: JSON
    """Write run.json of a finished scan."""
    content = {"signature": signature, **described, "read": totals}
    atomic.write(directory / FILE, [json.dumps(content, indent=2, ensure_ascii=False), "\n"])
