"""The articles of a study, and those that are shown to a model before it writes: read, checked, sampled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evalkit import dataset, encoding, registry, task
from evalkit.articles.likeness import Words, is_same
from evalkit.articles.records import Article
from evalkit.articles.settings import BuildSettings
from evalkit.errors import DataError, UsageError
from evalkit.records import Example, Task
from evalkit.report.table import count

TASK = "articles"
OPTIONAL = ("title", "subtitle")  # columns that data with ready-made texts may lack
COLUMNS = (*OPTIONAL, "article", "id")
LONGEST_ID = 200  # characters: ids stand in tables and pages
MOST_OF_POOL = 1000  # articles that context is drawn from, a seeded sample of more
NAMED = 3  # ids in a message


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a study is about."""

    task: Task  # `articles`, with the source that was read
    articles: tuple[Article, ...]
    pool: tuple[Article, ...]  # what articles of context are drawn from: others, or where those are few the study's own
    digest: str  # of all articles of the data
    ids: frozenset[str]  # of all articles of the data
    notes: tuple[str, ...]


def gather(settings: BuildSettings) -> Gathered:
    """Read the articles and draw those of the study; DataError for what is wrong with the data."""
    each = _reading(settings)
    examples = dataset.load(each.source, task=each)
    notes: list[str] = []
    if settings.articles is None:
        notes.append(f"The articles are a sample of {len(examples)} that were written for evalkit.")
    _check_ids(examples, each.source.location)
    found = _distinct([_article(example) for example in examples], notes)
    if len(found) < 2:
        raise DataError(
            f"{each.source.location}: found {count(len(found), 'article')}, expected at least 2: each quiz shows some "
            "by people and some by models"
        )
    articles = _sample(found, settings, notes)
    if settings.models:
        _check_titles(articles, each.source.location, notes)
    pool = _pool(found, articles, settings, notes)
    digest = encoding.examples_digest(examples)
    return Gathered(each, articles, pool, digest, frozenset(example.id for example in examples), tuple(notes))


def example(article: Article) -> Example:
    """Give an article as the task's templates read it, its text as the answer."""
    fields = {"title": article.title, "subtitle": article.subtitle}
    return Example(article.id, fields, targets=(f" {article.text}",))


def some(ids: Sequence[str]) -> str:
    """Name the first of many ids."""
    shown = ", ".join(map(repr, ids[:NAMED]))
    return shown if len(ids) <= NAMED else f"{shown} and {len(ids) - NAMED:,} more"


def _reading(settings: BuildSettings) -> Task:
    """Load the task with the data's own columns; titles may be missing where nobody says how they are called."""
    [each] = task.load(TASK)
    if unknown := next((name for name, _ in settings.columns if name not in COLUMNS), None):
        raise UsageError(f"--columns: articles have no {unknown!r}; {registry.suggest(unknown, COLUMNS)}")
    columns = {"target" if name == "article" else name: column for name, column in settings.columns}
    if columns and settings.articles is None:
        raise UsageError("--columns: found no --articles, whose columns it could name; give both")
    each = dataset.with_data(each, settings.articles, columns=columns)
    absent = [name for name in OPTIONAL if name not in columns]
    kept = {name: column for name, column in each.columns.items() if name not in absent}
    return replace(each, columns=kept, fields={**each.fields, **dict.fromkeys(absent, "")})


def _check_ids(examples: Iterable[Example], location: str) -> None:
    for each in examples:
        if not each.id.strip() or len(each.id) > LONGEST_ID:
            raise DataError(
                f"{location}: found the id {each.id[:20]!r} of {len(each.id)} characters, expected 1 to {LONGEST_ID}; "
                "name another column with --columns id=NAME"
            )


def _article(example: Example) -> Article:
    title, subtitle = (_line(example.fields.get(name)) for name in OPTIONAL)
    return Article(example.id, title, subtitle, "\n".join(example.targets[0].strip().splitlines()))


def _line(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def _distinct(articles: Iterable[Article], notes: list[str]) -> list[Article]:
    """Keep the first of articles with one text."""
    by_text: dict[str, Article] = {}
    left_out = [each.id for each in articles if by_text.setdefault(" ".join(each.text.split()), each) is not each]
    if left_out:
        notes.append(f"{count(len(left_out), 'article')} with the text of another left out: {some(left_out)}.")
    return list(by_text.values())


def _sample(found: Sequence[Article], settings: BuildSettings, notes: list[str]) -> tuple[Article, ...]:
    """Draw the articles of the study, none the same as another but for a few words."""
    by_id = {each.id: each for each in found}
    stand_ins = [Example(each.id, {}, ()) for each in found]
    wanted = settings.limit
    while True:
        drawn = [by_id[each.id] for each in dataset.sample(stand_ins, limit=wanted, seed=settings.seed)]
        alike = _alike(drawn)
        kept = [each for each in drawn if each.id not in alike]
        if len(kept) >= settings.limit or wanted >= len(found):
            break
        wanted += settings.limit - len(kept)
    if len(kept) < 2:
        raise DataError(
            f"found {count(len(kept), 'article')} that differ in more than a few words, expected at least 2"
        )
    if alike:
        notes.append(f"{count(len(alike), 'article')} left out that are others but for a few words: {some([*alike])}.")
    if len(kept) < settings.limit:
        notes.append(f"The data have {len(kept)} articles, fewer than the {settings.limit} that were asked for.")
    return tuple(kept[: settings.limit])


def _alike(articles: Sequence[Article]) -> dict[str, None]:
    """List the ids of articles that are the same as one before them."""
    seen: list[Words] = []
    alike: dict[str, None] = {}
    for article in articles:
        words = Words.of(article.text)
        if _is_among(seen, words):
            alike[article.id] = None
        else:
            seen.append(words)
    return alike


def _is_among(texts: Iterable[Words], own: Words) -> bool:
    return any(is_same(own, other) for other in texts)


def _check_titles(articles: Sequence[Article], location: str, notes: list[str]) -> None:
    """Raise DataError for an article without a title, which no model could write about."""
    if bare := [each.id for each in articles if not each.title]:
        raise DataError(
            f"{location}: found no title for {count(len(bare), 'article')} ({some(bare)}), expected one for a model to "
            "write about; name the column with --columns title=NAME, or give texts with --given"
        )
    if without := sum(not each.subtitle for each in articles):
        notes.append(f"{count(without, 'article')} without a subtitle: models saw an empty one.")


def _pool(
    found: Sequence[Article], articles: Sequence[Article], settings: BuildSettings, notes: list[str]
) -> tuple[Article, ...]:
    if not settings.models or settings.context == 0:
        return ()
    own = {each.id for each in articles}
    texts = [Words.of(each.text) for each in articles]
    others = [Example(each.id, {}, ()) for each in found if each.id not in own and each.title]
    drawn = {each.id for each in dataset.sample(others, limit=MOST_OF_POOL, seed=settings.seed)} if others else set()
    pool = tuple(each for each in found if each.id in drawn and not _is_among(texts, Words.of(each.text)))
    if len(pool) >= settings.context:
        return pool
    notes.append(
        f"Articles of context are the study's own others: the data have {count(len(pool), 'article')} beside the "
        f"study's, fewer than the {settings.context} of a prompt."
    )
    return tuple(articles)
