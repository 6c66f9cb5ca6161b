"""What a study was built with, and whose a study's directory is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import atomic, manifest, text
from evalkit.articles import directory as directories
from evalkit.articles.gather import Gathered
from evalkit.articles.given import Texts
from evalkit.articles.records import Exclusions
from evalkit.articles.settings import BuildSettings
from evalkit.errors import StorageError
from evalkit.report import provenance as origins
from evalkit.report.content import Provenance
from evalkit.store import Store

Json = dict[str, Any]  # Any: JSON nests

FREE = (
    "articles",
    "columns",
    "given",
    "corpus",
    "device",
    "token_budget",
    "out",
)  # change no text, or only through the hashes
OTHERS = {"articles": "other articles", "prompt": "another prompt or task file", "corpus": "another --corpus"}
OURS = re.compile(
    rf"{re.escape(directories.FILE)}|{re.escape(directories.ANSWERS)}.*|{re.escape(manifest.ANSWERS)}.*|{directories.SCANS}|"
    r"\..*\.partial"
)


def describe(settings: BuildSettings, gathered: Gathered, given: Sequence[Texts]) -> Json:
    """List settings and hashes: all that decides a study but the models, whose fingerprints join when they are loaded.

    A corpus counts by the names and sizes of its files. Raises DataError where there is none.
    """
    task = gathered.task
    described = {
        "settings": dataclasses.asdict(settings)
        | {
            "given": [f"{each.name}={each.path}" for each in settings.given],
            "out": None if settings.out is None else str(settings.out),
        },
        "hashes": {
            "articles": gathered.digest,
            "prompt": text.digest(task.template, task.separator, list(task.stop), task.max_tokens, task.decoding),
            "given": {each.condition.name: text.digest(each.digest, each.condition.parameters) for each in given},
            "corpus": _corpus_digest(settings.corpus) if settings.corpus else None,
        },
    }
    plain: Json = json.loads(json.dumps(described))  # tuples become lists, as they will be when read back
    return plain


def read(directory: Path) -> tuple[Provenance, ...]:
    """Read how a study was built; nothing where another program made it, StorageError where it cannot be read."""
    built = dict(directories.built(directory))
    try:
        settings = dict(built.pop("settings"))
        exclusions = Exclusions(**settings.pop("exclusions"))
        for account in built["conditions"].values():
            account.pop("context", None)  # the articles before each text: a list as long as the study
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
    settings |= {
        "least_seconds": exclusions.least_seconds,
        "keep_unfinished": not exclusions.must_finish,
        "keep_inattentive": not exclusions.must_attend,
    }
    made = origins.command("study build", settings, BuildSettings)
    signature = directories.load(directory).signature
    return (origins.of(directory, {"settings": settings, **built}, command=made, signatures=[signature]),)


def default_directory(settings: BuildSettings, described: Json) -> Path:
    """Name a directory that only the same settings on the same articles lead to."""
    writers = [*settings.models, *(each.name for each in settings.given)]
    names = re.sub(r"[^\w.+-]+", "-", "+".join(Path(name).name for name in writers)).strip("-.")[:60]
    return Path("reports") / f"study-{names}-{text.digest(identity(described), length=8)}"


def identity(described: Mapping[str, Any]) -> Json:  # Any: JSON
    """Take out what decides a study."""
    settings = {key: value for key, value in described["settings"].items() if key not in FREE}
    return {"settings": settings, "hashes": dict(described["hashes"])}


@contextlib.contextmanager
def claim(directory: Path, described: Json) -> Iterator[Store]:
    """Hold the directory for this build, and yield the answers of models; made where it is missing.

    Raises StorageError where it cannot be written, is something else, another build holds it, or a study was built
    there from other settings.
    """
    check(directory, described)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(atomic.explain(directory, error)) from error
    with Store(directory / manifest.ANSWERS) as store:
        yield store


def check(directory: Path, described: Json) -> None:
    """Raise StorageError where this study cannot be kept in a directory, as far as that shows without writing."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise StorageError(f"{directory}: cannot write: it is not a directory; choose another --out")
    names = sorted(path.name for path in directory.iterdir())
    has_study = directories.FILE in names
    if not has_study and (strange := [name for name in names if not OURS.fullmatch(name)]):
        raise StorageError(
            f"{directory}: holds {strange[0]!r} but no {directories.FILE}, so is not a study; choose another --out"
        )
    if not has_study and directories.ANSWERS in names:
        raise StorageError(
            f"{directory}: holds {directories.ANSWERS}, answers of participants, but no {directories.FILE} they are "
            "about; choose another --out"
        )
    if not has_study:
        return
    before = directories.built(directory)
    try:
        old, new = identity(before), identity(described)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StorageError(
            f"{directory}: holds a study that evalkit study build did not make; choose another --out"
        ) from error
    if wrong := _difference(_flat(old), _flat(new)):
        raise StorageError(f"{directory}: built {wrong}; choose another --out, or remove the directory")


def check_model(directory: Path, name: str, fingerprint: str) -> None:
    """Raise StorageError where the study of a directory was built with other weights of a model."""
    if not (directory / directories.FILE).exists():
        return
    before = directories.built(directory).get("models", {})
    if isinstance(before, dict) and before.get(name, fingerprint) != fingerprint:
        raise StorageError(
            f"{directory}: built with other weights, configuration or tokenizer of {name}; choose another --out, or "
            "remove the directory"
        )


def _corpus_digest(places: Sequence[str]) -> str:
    from evalkit.contamination.corpus import shards

    return text.digest([[shard.path.name, shard.begin, shard.end, shard.size] for shard in shards.plan(places)])


def _difference(old: Mapping[str, object], new: Mapping[str, object]) -> str | None:
    for key in sorted(old.keys() | new.keys(), key=lambda key: ("settings" not in key, key)):
        if old.get(key) == new.get(key):
            continue
        kind, _, name = key.partition(" ")
        if kind == "settings":
            if name.startswith("exclusions"):
                return "with other rules of whom to exclude"
            flag = name.replace("_", "-").replace("models", "model")
            return f"with --{flag} {_shown(old.get(key))}, not {_shown(new.get(key))}"
        if name.startswith("given"):
            return f"with other texts or another size of {name.removeprefix('given').strip() or 'what is given'}"
        return f"from {OTHERS.get(name, 'another ' + name)}"
    return None


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "unset"
    return "unset" if value is None else str(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:  # Any: JSON
    """One level of keys, such as `hashes given davinci`."""
    flat: dict[str, object] = {}
    for key, inner in value.items():
        name = f"{prefix} {key}".strip()
        flat |= _flat(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat
