"""The tasks that ship: their golden prompts at 0, 1 and the paper's shots, and their sample data."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from evalkit import dataset, fewshot, prompt, request, sources, task
from evalkit.records import Example, LogLikelihood, Task
from tests.conftest import count_pieces

NAMES = (
    *("boolq", "lambada", "articles", "article-classification"),
    *("translation/en-fr", "translation/fr-en", "translation/en-de", "translation/de-en"),
    *("translation/en-ro", "translation/ro-en"),
    *("scramble/cycle-letters", "scramble/anagrams-1", "scramble/anagrams-2"),
    *("scramble/random-insertion", "scramble/reversed-words"),
)
PAPER = {"boolq": 32, "lambada": 15, "translation": 64, "scramble": 100, "articles": 3, "arithmetic": 50}


def offline(name: str) -> Task:
    """A shipped task on its sample."""
    [each] = task.load(name)
    if each.sample is None:
        return each
    return replace(each, source=each.sample, pool=each.sample_pool, hold_out=None)


def supply(each: Task) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    found = sources.gather(each, has_shots=True)
    return found.examples, found.pool


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_the_golden_ones(golden: Callable[[str, str], None], name: str) -> None:
    each = offline(name)
    examples, pool = supply(each)
    prepared = fewshot.prepare(pool, task=each)
    for shots in (0, 1, each.paper_shots or 0):
        shown = prompt.at(each, shots)
        demonstrations: Sequence[Example] = fewshot.draw(prepared, examples[2], shots=shots, seed=0) if shots else ()
        [built] = prompt.build(
            shown, [(examples[2], demonstrations)], shots=shots, count_tokens=count_pieces, window=2048
        )
        assert built is not None
        asked = request.build(shown, examples[2], built, seed=0)
        continuations = [
            f"{kind}: {each.context if kind == 'unconditional' else ''}|{prompt.visible(each.continuation)}\n"
            for kind, requests in asked.items()
            for each in requests
            if isinstance(each, LogLikelihood)
        ]
        head = f"{name}: {shots} shots asked, {built.shots_used} used, {built.tokens} pieces\n\n"
        file = f"tasks/{name.replace('/', '-')}-{'paper' if shots == each.paper_shots else shots}.txt"
        golden(file, head + prompt.visible(built.context) + "|\n" + "".join(continuations))


@pytest.mark.parametrize("name", [*NAMES, "arithmetic/2-digit-addition"])
def test_the_papers_number_of_shots_is_that_of_table_h1(name: str) -> None:
    wanted = PAPER.get(name.split("/", maxsplit=1)[0])
    assert wanted is None or task.load(name)[0].paper_shots == wanted


@pytest.mark.parametrize(
    ("name", "examples", "pool"),
    [
        ("boolq", 100, 32),
        ("translation/en-fr", 200, 64),
        ("translation/de-en", 200, 64),
        ("translation/ro-en", 200, 64),
        ("articles", 30, 30),
        ("lambada", 50, 15),
        ("scramble/cycle-letters", 500, 100),
        ("article-classification", 60, 60),
    ],
)
def test_samples_are_large_enough_for_the_papers_shots(name: str, examples: int, pool: int) -> None:
    found, demonstrations = supply(offline(name))
    assert len(found) >= examples
    assert len(demonstrations) >= pool


@pytest.mark.parametrize("name", ["boolq", "lambada", "translation/en-fr", "translation/de-en", "translation/ro-en"])
def test_no_sample_is_among_its_own_demonstrations(name: str) -> None:
    each = offline(name)
    found, demonstrations = supply(each)
    texts = {prompt.question(each, example) for example in found}
    assert not texts & {prompt.question(each, example) for example in demonstrations}


def test_translation_asks_a_question_at_zero_shots_and_shows_pairs_above() -> None:
    each = offline("translation/en-de")
    example = Example("a", {"source": "Good evening.", "language": "German"}, (" Guten Abend.",))
    assert prompt.question(prompt.at(each, 0), example) == "Q: What is the German translation of Good evening. A:"
    assert prompt.worked(prompt.at(each, 1), example) == "Good evening. = Guten Abend."


def test_lambadas_last_word_is_the_target() -> None:
    each = offline("lambada")
    example = dataset.load(each.source, task=each)[0]
    text = str(example.fields["text"])
    assert text == prompt.question(prompt.at(each, 0), example) + example.targets[0]
    assert prompt.question(prompt.at(each, 1), example).endswith(" ____. →")


def test_a_text_is_scored_as_it_stands() -> None:
    each = offline("perplexity")
    example = dataset.load(each.source, task=each)[0]
    [built] = prompt.build(each, [(example, ())], shots=0, count_tokens=count_pieces, window=64)
    assert built is not None
    [[asked]] = request.build(each, example, built, seed=0).values()
    assert asked.text == example.fields["article"]  # type: ignore[union-attr]
    assert asked.window == 64  # type: ignore[union-attr]
