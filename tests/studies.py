"""Small studies made in code: articles, what each condition's model wrote for them, the two quizzes; and servers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evalkit.articles.records import Article, Condition, Exclusions, Study, Written

HUMAN = "A person wrote about"  # how the text of an article begins; a model's begins with WRITTEN
WRITTEN = "A program wrote about"
MODELS: Mapping[str, int | None] = {"zanzibar": 125_000_000, "timbuktu": None}  # names no page has for another reason
ADMIN = "a token for tests"
SERVE = f"""
import sys
from pathlib import Path
from evalkit.articles.web.serve import serve
from evalkit.articles.web.settings import ServeSettings
from evalkit.errors import EvalkitError
directory, port = sys.argv[1:]
try:
    serve(
        ServeSettings(
            Path(directory), port=int(port), admin_token={ADMIN!r}, requests_a_second=1e6, requests_at_once=10**6,
            begins_at_once=10**6,
        ),
        say=lambda line: print(line, flush=True),
    )
except EvalkitError as error:
    sys.exit(print(error) or 2)
"""


def study(
    articles: int = 4, *, models: Sequence[str] = tuple(MODELS), has_control: bool = False, seed: int = 0
) -> Study:
    """Make a study whose quiz A shows every other article, from the first, as people wrote it."""
    ids = [f"n{number:02}" for number in range(articles)]
    conditions = [condition(name, ids, parameters=MODELS.get(name)) for name in models]
    if has_control:
        conditions.append(condition("control", ids, is_control=True))
    return Study(
        title="Small study",
        seed=seed,
        articles=tuple(article(name) for name in ids),
        human_in_a=tuple(ids[::2]),
        conditions=tuple(conditions),
        exclusions=Exclusions(),
        signature=f"articles|n:{articles}|models:{','.join(models)}|control:{has_control}|seed:{seed}",
    )


def article(name: str) -> Article:
    """Make an article of two paragraphs."""
    text = f"{HUMAN} {name}. It was a long day in the town.\n\nNobody saw the end of it, said the mayor."
    return Article(name, f"Title of {name}", f"Subtitle of {name}", text)


def condition(
    name: str, articles: Sequence[str], *, parameters: int | None = None, is_control: bool = False
) -> Condition:
    """Make what one model wrote: two paragraphs an article."""
    written = {each: Written(each, f"{WRITTEN} {each}, {_mark(name)}.\n\nThe end.", 5, 0) for each in articles}
    return Condition(name, is_control, f"model:{name}@{'0' * 6}", parameters, written)


def _mark(name: str) -> str:
    """Give a word by which the texts of two models differ, without the model's name."""
    return name[::-1]


@contextmanager
def serving(directory: Path, *, port: int = 0) -> Iterator[Served]:
    """Run a server of the study in a directory, in a process of its own, without limits that a test would meet."""
    process = start(directory, port=port)
    try:
        yield Served(process, _port(process))
    finally:
        process.kill()
        process.communicate()


def start(directory: Path, *, port: int) -> subprocess.Popen[str]:
    """Start a server; its first line tells the address, or what keeps it from serving."""
    command = [sys.executable, "-c", SERVE, str(directory), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    assert found, line
    return int(found[1])
