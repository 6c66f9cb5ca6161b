import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from evalkit import prompt, task
from evalkit.articles import directory, write
from evalkit.articles.build import Outcome, build
from evalkit.articles.gather import example
from evalkit.articles.records import Condition, Exclusions
from evalkit.articles.settings import BuildSettings, Given
from evalkit.errors import DataError, EvalkitError, StorageError, UsageError
from evalkit.models.load import load
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Generate, Request

WORDS = 30  # of each article
Row = dict[str, Any]


def invent(seed: object, sentences: int) -> str:
    """Write sentences of six words that no other text has."""
    draws = Random(str(seed))
    return " ".join(" ".join([f"W{draws.random()}"[2:]] * 5 + ["end."]).capitalize() for _ in range(sentences))


def rows(number: int = 4) -> list[Row]:
    return [
        {
            "id": f"n{place}",
            "title": f"Title {place}",
            "subtitle": f"Below {place}",
            "article": invent(place, WORDS // 6),
        }
        for place in range(number)
    ]


def lines(path: Path, written: Sequence[Row]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in written), encoding="utf-8")
    return path


def author(request: Request) -> str:
    """Write 1 to 8 sentences, another text for each seed."""
    assert isinstance(request, Generate)
    return f" {invent(request.seed, 1 + request.seed % 8)} And what was beg"


def settings(folder: Path, written: Sequence[Row] | None = None, **changes: Any) -> BuildSettings:
    articles = lines(folder / "articles.jsonl", rows() if written is None else written)
    own: Row = {"articles": str(articles), "models": ("one",), "out": folder / "study"}
    return BuildSettings(**own | changes)


def run(asked: BuildSettings, script: Callable[[Request], str] = author, **model: Any) -> Outcome:
    return build(asked, lambda name: ScriptedModel(script, name=name, **model))


def conditions(outcome: Outcome) -> dict[str, Condition]:
    return {each.name: each for each in outcome.study.conditions}


def test_every_article_has_a_text_of_every_condition(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, models=("one", "two")))
    assert {name: sorted(each.written) for name, each in conditions(outcome).items()} == {
        name: ["n0", "n1", "n2", "n3"] for name in ("one", "two", "control")
    }


def test_the_study_is_what_its_directory_holds(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path))
    assert directory.load(tmp_path / "study") == outcome.study


def test_the_shipped_articles_are_taken_where_none_are_named(tmp_path: Path) -> None:
    outcome = run(BuildSettings(models=("one",), out=tmp_path / "study"))
    assert len(outcome.study.articles) == 25
    assert outcome.notes[0] == "The articles are a sample of 36 that were written for evalkit."


def test_the_chosen_text_is_the_nearest_in_words(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, candidates=40))
    assert {len(each.text.split()) for each in conditions(outcome)["one"].written.values()} == {WORDS}


def test_texts_end_with_a_sentence(tmp_path: Path) -> None:
    texts = [each.text for one in run(settings(tmp_path)).study.conditions for each in one.written.values()]
    assert all(text.endswith("end.") for text in texts)


def test_prompts_are_those_of_the_task(tmp_path: Path) -> None:
    model = ScriptedModel(author, name="one")
    outcome = build(settings(tmp_path, rows(9), limit=4, control="none"), lambda _: model)
    account = directory.built(outcome.directory)["conditions"]["one"]
    first = outcome.study.articles[0]
    pool = {row["id"]: row for row in rows(9)}
    shown = [replace(first, id=name, **_fields(pool[name])) for name in account["context"][first.id]]
    [asked] = task.load("articles")
    job = (example(first), [example(each) for each in shown])
    [expected] = prompt.build(asked, [job], shots=3, count_tokens=model.count_tokens, window=model.window)
    assert expected is not None
    assert {request.context for batch in model.batches for request in batch if isinstance(request, Generate)} >= {
        expected.context
    }


def _fields(row: Row) -> Row:
    return {"title": row["title"], "subtitle": row["subtitle"], "text": row["article"]}


def test_context_comes_from_articles_that_are_not_in_the_study(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, rows(9), limit=4))
    context = directory.built(outcome.directory)["conditions"]["one"]["context"]
    ids = {each.id for each in outcome.study.articles}
    assert all(len(each) == 3 and ids.isdisjoint(each) for each in context.values())


def test_with_too_few_others_context_comes_from_the_study(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path))
    context = directory.built(outcome.directory)["conditions"]["one"]["context"]
    assert all(len(each) == 3 and name not in each for name, each in context.items())
    assert any(note.startswith("Articles of context are the study's own others") for note in outcome.notes)


def test_context_that_does_not_fit_the_window_is_dropped_whole_and_told(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, max_tokens=50, control="none"), window=140)
    context = directory.built(outcome.directory)["conditions"]["one"]["context"]
    assert {len(each) for each in context.values()} == {2}  # a demonstration has 37 words, a question 7
    assert "one: prompts hold 2 of 3 articles of context" in outcome.notes[-1]


def test_candidates_have_seeds_of_their_own(tmp_path: Path) -> None:
    model = ScriptedModel(author, name="one")
    build(settings(tmp_path, control="none"), lambda _: model)
    seeds = [request.seed for batch in model.batches for request in batch if isinstance(request, Generate)]
    assert len(set(seeds)) == len(seeds) == 4 * 5


def test_the_control_sees_no_context_and_draws_more_freely(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, control_temperature=1.5))
    account = directory.built(outcome.directory)["conditions"]["control"]
    assert {len(each) for each in account["context"].values()} == {0}
    assert (account["decoding"]["temperature"], account["decoding"]["top_p"]) == (1.5, None)
    assert [each.is_control for each in outcome.study.conditions] == [False, True]


def test_another_model_may_be_the_control(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, control="small"))
    assert "model:small@" in conditions(outcome)["control"].signature


def test_there_may_be_no_control(tmp_path: Path) -> None:
    assert conditions(run(settings(tmp_path, control="none"))).keys() == {"one"}


def test_without_a_text_that_can_be_shown_more_are_asked_for(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    def late(request: Request) -> str:
        assert isinstance(request, Generate)
        own = seen.setdefault(request.context, [])
        own += [] if request.seed in own else [request.seed]
        return author(request) if own.index(request.seed) > 5 else " no end"

    account = directory.built(run(settings(tmp_path, control="none"), late).directory)["conditions"]["one"]
    assert (account["candidates"], account["dropped"]) == (4 * 10, {"without a sentence's end": 4 * 6})


def test_an_article_that_one_model_cannot_write_is_left_out_for_all(tmp_path: Path) -> None:
    def mute(request: Request) -> str:
        assert isinstance(request, Generate)
        is_hard = request.context.rsplit("Title: ", 1)[1].startswith("Title 2")
        return " no end" if is_hard else author(request)

    outcome = build(
        settings(tmp_path, models=("one", "two"), control="none"),
        lambda name: ScriptedModel(mute if name == "two" else author, name=name),
    )
    assert {tuple(each.written) for each in outcome.study.conditions} == {("n0", "n1", "n3")}
    expected = f"none of {5 * write.ROUNDS} candidates can be shown: {5 * write.ROUNDS} without a sentence's end"
    assert directory.built(outcome.directory)["left_out"] == {"n2": {"two": expected}}
    assert outcome.notes[-1].startswith("1 article left out ('n2'), such as 'n2', for which two has no text")


def test_a_model_that_writes_nothing_makes_no_study(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found texts of all models for 0 articles"):
        run(settings(tmp_path), lambda _: "")
    assert not (tmp_path / "study" / directory.FILE).exists()


def test_a_copy_of_the_human_article_is_never_shown(tmp_path: Path) -> None:
    human = {row["title"]: row["article"] for row in rows()}

    def copier(request: Request) -> str:
        assert isinstance(request, Generate)
        title = request.context.rsplit("Title: ", 1)[1].partition("\n")[0]
        return f" {human[title]}" if request.seed % 2 else author(request)

    outcome = run(settings(tmp_path, candidates=20), copier)
    assert not {each.text for one in outcome.study.conditions for each in one.written.values()} & {*human.values()}
    account = directory.built(outcome.directory)["conditions"]["one"]
    assert account["dropped"]["copies of the human article"] > 0


def test_what_stands_in_the_corpus_is_never_shown(tmp_path: Path) -> None:
    first = run(settings(tmp_path))
    known = [each.text for each in conditions(first)["one"].written.values()]
    corpus = lines(tmp_path / "corpus.jsonl", [{"written": text, "read": "nothing"} for text in known])
    second = run(settings(tmp_path, corpus=(str(corpus),), text_field="written", out=tmp_path / "other"))
    assert not {each.text for each in conditions(second)["one"].written.values()} & {*known}
    dropped = directory.built(second.directory)["conditions"]["one"]["dropped"]
    assert dropped["with words that stand in the corpus"] >= 4


def test_a_build_that_was_stopped_asks_no_model_again(tmp_path: Path) -> None:
    asked = settings(tmp_path, models=("one", "two"))
    expected = run(replace(asked, out=tmp_path / "at once")).study
    models: list[ScriptedModel] = []

    def load(name: str, *, is_stopped: bool) -> ScriptedModel:
        if name == "two" and is_stopped:
            raise KeyboardInterrupt
        models.append(ScriptedModel(author, name=name))
        return models[-1]

    with pytest.raises(KeyboardInterrupt):
        build(asked, lambda name: load(name, is_stopped=True))
    again = build(asked, lambda name: load(name, is_stopped=False)).study
    assert [len(sum(model.batches, ())) for model in models if model.name == "one"] == [40, 0]  # with the control's
    assert again == expected


def test_the_same_settings_give_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "study" / directory.FILE
    asked = settings(tmp_path)
    run(asked)
    first = path.read_bytes()
    run(asked)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": 1}, "with --seed 0, not 1"),
        ({"candidates": 6}, "with --candidates 5, not 6"),
        ({"models": ("one", "two")}, "with --model one, not one,two"),
        ({"written": rows(5)}, "from other articles"),
        ({"exclusions": Exclusions(least_seconds=3.0)}, "with other rules of whom to exclude"),
    ],
)
def test_a_study_of_other_settings_is_refused(tmp_path: Path, changes: Row, complaint: str) -> None:
    run(settings(tmp_path))
    with pytest.raises(StorageError, match=f"built {complaint}; choose another --out"):
        run(settings(tmp_path, **changes))


def test_a_study_of_other_weights_is_refused(tmp_path: Path) -> None:
    run(settings(tmp_path))
    with pytest.raises(StorageError, match="other weights, configuration or tokenizer of one"):
        run(settings(tmp_path), window=4096)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    with pytest.raises(StorageError, match=r"holds 'articles.jsonl' but no study\.json"):
        run(replace(asked, out=tmp_path))


def test_a_study_that_was_answered_stays_as_it_is(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    first = run(asked).study
    (tmp_path / "study" / directory.ANSWERS).touch()
    again = build(asked, lambda _: pytest.fail("a model was loaded"))
    assert again.study == first
    assert "has been served to participants" in again.notes[0]


def test_nano_writes_a_study(tmp_path: Path) -> None:
    asked = BuildSettings(models=("nano",), limit=2, candidates=2, max_tokens=60, out=tmp_path / "study")
    outcome = build(asked, load)
    assert conditions(outcome)["nano"].parameters == conditions(outcome)["control"].parameters == 1_094_144
    assert "at 60 tokens, shorter than the human article; --max-tokens gives them more." in " ".join(outcome.notes)


def given(folder: Path, **texts: Row) -> Given:
    return Given("davinci", lines(folder / "davinci.jsonl", [{"id": name, **row} for name, row in texts.items()]), 175)


TEXTS = {f"n{place}": {"text": f"Given text {place} that ends with"} for place in range(4)}


def test_given_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, models=(), given=(given(tmp_path, **TEXTS),)))
    [only] = outcome.study.conditions
    assert (only.name, only.is_control, only.parameters) == ("davinci", False, 175)
    assert {name: each.text for name, each in only.written.items()} == {
        name: row["text"] for name, row in TEXTS.items()
    }


def test_of_several_given_texts_the_nearest_in_words_is_taken(tmp_path: Path) -> None:
    texts = {name: {"texts": ["short", "word " * (WORDS + 1), "word " * (WORDS + 9)]} for name in TEXTS}
    [only] = run(settings(tmp_path, models=(), given=(given(tmp_path, **texts),))).study.conditions
    assert {(len(each.text.split()), each.candidates) for each in only.written.values()} == {(WORDS + 1, 3)}


def test_given_texts_may_be_the_control(tmp_path: Path) -> None:
    control = replace(given(tmp_path, **TEXTS), name="control")
    outcome = run(settings(tmp_path, given=(control,)))
    assert {name: each.is_control for name, each in conditions(outcome).items()} == {"one": False, "control": True}


def test_a_given_text_with_words_of_the_human_article_is_told(tmp_path: Path) -> None:
    texts = TEXTS | {"n1": {"text": rows()[1]["article"]}}
    outcome = run(settings(tmp_path, models=(), given=(given(tmp_path, **texts),)))
    assert "davinci: 1 text with words of the human article, kept: 'n1'." in outcome.notes


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ({"n0": TEXTS["n0"], "n3": TEXTS["n3"]}, r"found no text for 2 articles of the study \('n1', 'n2'\)"),
        (TEXTS | {"n1": {"text": " "}}, r"davinci\.jsonl:2: found ' ', expected a text that is not empty"),
        (TEXTS | {"n1": {"text": 3}}, r"davinci\.jsonl:2: found 3, expected a text"),
        (TEXTS | {"n1": {"texts": []}}, r"davinci\.jsonl:2: column 'texts': found \[\]"),
        (TEXTS | {"n1": {}}, "neither column 'text' nor 'texts'"),
        (TEXTS | {"n1": {"text": "a", "texts": ["a"]}}, "both columns"),
    ],
)
def test_given_texts_that_will_not_do_are_explained(tmp_path: Path, texts: Row, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        run(settings(tmp_path, models=(), given=(given(tmp_path, **texts),)))


def test_given_texts_need_no_titles(tmp_path: Path) -> None:
    bare = [{"id": row["id"], "article": row["article"]} for row in rows()]
    outcome = run(settings(tmp_path, bare, models=(), given=(given(tmp_path, **TEXTS),)))
    assert {each.title for each in outcome.study.articles} == {""}


def changed(place: int, **values: object) -> list[Row]:
    return [row | values if number == place else row for number, row in enumerate(rows())]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (changed(2, title=""), r"found no title for 1 article \('n2'\)"),
        (changed(2, title=None), r"found no title for 1 article \('n2'\)"),
        (changed(1, article=" "), r"articles\.jsonl:2: found an empty answer"),
        (changed(1, article=None), r"articles\.jsonl:2: column 'article': found nothing"),
        (changed(1, id="n0"), r"articles\.jsonl:2: found id 'n0' again"),
        (changed(1, id=" "), r"found the id ' ' of 1 characters, expected 1 to 200; name another column"),
        (changed(1, id="n" * 201), r"found the id 'n{20}' of 201 characters"),
        ([{"id": "a", "title": "t"}], "missing column 'article'"),
        (rows(1), "found 1 article, expected at least 2"),
    ],
)
def test_articles_that_will_not_do_are_explained(tmp_path: Path, written: list[Row], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        run(settings(tmp_path, written))


def test_columns_of_other_names_are_read(tmp_path: Path) -> None:
    other = [{"headline": row["title"], "body": row["article"]} for row in rows()]
    outcome = run(settings(tmp_path, other, columns=(("title", "headline"), ("article", "body"))))
    assert [each.title for each in outcome.study.articles] == [f"Title {place}" for place in range(4)]


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "articles.csv"
    cells = [["id", "title", "article"], *([row["id"], row["title"], row["article"]] for row in rows())]
    path.write_text("".join(f"{','.join(each)}\n" for each in cells), encoding="utf-8")
    outcome = run(settings(tmp_path, articles=str(path)))
    assert [each.text for each in outcome.study.articles] == [row["article"] for row in rows()]
    assert "4 articles without a subtitle: models saw an empty one." in outcome.notes


def test_articles_with_one_text_count_once(tmp_path: Path) -> None:
    outcome = run(settings(tmp_path, changed(3, article=rows()[0]["article"])))
    assert [each.id for each in outcome.study.articles] == ["n0", "n1", "n2"]
    assert outcome.notes[0] == "1 article with the text of another left out: 'n3'."


def test_articles_that_differ_in_a_few_words_count_once(tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(40))
    written = changed(0, article=f"{long}.")
    written[3]["article"] = f"{long} indeed."
    outcome = run(settings(tmp_path, written))
    assert [each.id for each in outcome.study.articles] == ["n0", "n1", "n2"]


def test_a_smaller_study_is_drawn_by_the_seed(tmp_path: Path) -> None:
    drawn = [
        tuple(
            each.id
            for each in run(settings(tmp_path, rows(12), limit=6, seed=seed, out=tmp_path / f"{name}")).study.articles
        )
        for name, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {len(each) for each in drawn} == {6}


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found two writers called 'one'"):
        build(settings(tmp_path, models=("a", "b")), lambda _: ScriptedModel(author, name="one"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"models": ()}, "found no writer"),
        ({"models": ("one", "one")}, "found the writer 'one' twice"),
        ({"limit": 1}, "--limit: found 1, expected 2 to 1,000"),
        ({"candidates": 0}, "--candidates: found 0"),
        ({"context": -1}, "--context: found -1"),
        ({"temperature": -1.0}, "--temperature: found -1"),
        ({"top_p": 0.0}, "--top-p: found 0"),
        ({"control_temperature": 0.0}, "--control-temperature: found 0, by which all 5 candidates are one text"),
        ({"title": " "}, "--title: found an empty text"),
        ({"given": (Given("control", Path("a.jsonl")),), "control": "one"}, "beside --given control=FILE"),
        ({"articles": None, "columns": (("title", "x"),)}, "--columns: found no --articles"),
        ({"columns": (("headline", "x"),)}, "--columns: articles have no 'headline'; known: article, id, subtitle"),
        ({"text_field": "text"}, "--text-field: found no --corpus"),
        ({"models": ("Human",)}, "found the writer 'Human', by which tables call people"),
    ],
)
def test_flags_that_cannot_be_carried_out_are_explained(tmp_path: Path, changes: Row, complaint: str) -> None:
    with pytest.raises(EvalkitError, match=complaint):
        run(settings(tmp_path, **changes))
