"""The command `study detect` on small studies: every detector and condition, the file it leaves, and its table."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.articles.detectors import records
from evalkit.articles.detectors.detect import DetectSettings, detect
from evalkit.articles.detectors.learned import PARTS
from evalkit.articles.detectors.records import Detection, load, save
from evalkit.articles.detectors.scores import DETECTORS
from evalkit.articles.detectors.tables import COLUMNS, tables
from evalkit.articles.detectors.two_models import JOINT_DETECTORS
from evalkit.articles.records import Study
from evalkit.decoder.engine import from_folder
from evalkit.errors import StorageError, UsageError
from evalkit.interfaces import LanguageModel, Progress
from evalkit.models.scripted import ScriptedModel
from evalkit.records import Estimate, PerToken, Request, TokenScores
from tests.decoders import save_gpt2
from tests.studies import WRITTEN, study


def judge(request: Request) -> TokenScores:
    """Find every token of what a program wrote likelier, and each text a little different."""
    assert isinstance(request, PerToken)
    words = request.text.split()
    logprob = -(2.0 if request.text.startswith(WRITTEN) else 5.0) - sum(map(ord, request.text)) % 10 / 10
    count = len(words)
    return TokenScores(tuple(words), (logprob,) * count, (2 + int(-logprob),) * count, (3.0,) * count, (1.0,) * count)


def scripted(_name: str) -> LanguageModel:
    return ScriptedModel(judge)


def found(made: Study, **settings: object) -> Detection:
    return detect(made, DetectSettings(**{"scorer": "scripted", "has_learned": False} | settings), scripted)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def taught() -> Detection:
    return found(study(10, models=["zanzibar"], has_control=True), has_learned=True)


def test_every_detector_has_a_row_for_each_condition(taught: Detection) -> None:
    expected = [*DETECTORS, *PARTS]
    assert [(row.condition, row.detector) for row in taught.rows] == [
        (condition, detector) for condition in ("zanzibar", "control") for detector in expected
    ]
    assert {row.kind for row in taught.rows} == {"zero-shot", "learned"}


def test_scores_are_those_of_the_texts_in_the_order_of_the_articles() -> None:
    made = study(4)
    row = found(made).rows[0]
    texts = [made.conditions[0].written[article.id].text for article in made.articles]
    assert row.detector == "log-likelihood"
    assert row.model == tuple(judge(PerToken(text, 1)).logprobs[0] for text in texts)
    assert row.human == tuple(judge(PerToken(article.text, 1)).logprobs[0] for article in made.articles)
    assert row.measures is not None
    assert (row.measures.auroc.value, row.measures.told_apart.value) == (1.0, 1.0)


def test_every_text_is_scored_once_in_windows_that_overlap() -> None:
    model = ScriptedModel(judge, window=64)
    detect(study(5), DetectSettings(scorer="scripted", has_learned=False), lambda _: model)
    asked = [request for batch in model.batches for request in batch]
    assert len(asked) == len({*asked}) == 15  # five articles, and what two models wrote for each
    assert {(each.window, each.stride) for each in asked if isinstance(each, PerToken)} == {(64, 32)}


def test_white_space_around_a_text_does_not_count() -> None:
    made = study(4)
    padded = [replace(article, text=f"\n {article.text}\n") for article in made.articles]
    assert found(replace(made, articles=tuple(padded))).rows == found(made).rows


def test_an_empty_text_is_left_out_and_told() -> None:
    made = study(4, models=["zanzibar"])
    [condition] = made.conditions
    written = dict(condition.written)
    written["n01"] = replace(written["n01"], text=" \n")
    detection = found(replace(made, conditions=(replace(condition, written=written),)))
    row = detection.rows[0]
    assert (row.model[1], row.unscored) == (None, 1)
    assert row.measures is not None
    assert row.measures.told_apart.n == 3
    [table] = tables(detection)
    assert table.rows[0][-1] == 3
    assert any(note.startswith("Up to 1 article of a row") for note in table.notes)


def test_a_single_article_is_not_measured() -> None:
    detection = found(study(1))
    assert {row.measures for row in detection.rows} == {None}
    assert tables(detection)[0].rows[0][2:6] == (None,) * 4


def test_few_articles_teach_nothing_which_is_said() -> None:
    said: list[str] = []
    detect(study(9), DetectSettings(scorer="scripted"), scripted, say=said.append)
    assert said[-1] == "Nothing was learned from 9 articles; classifiers need 10."


def test_learned_rows_have_a_calibration_and_others_none(taught: Detection) -> None:
    assert all((row.calibration is not None) == (row.kind == "learned") for row in taught.rows)
    likelihood = next(row for row in taught.rows if row.detector == "learned, likelihood")
    assert likelihood.measures is not None
    assert likelihood.measures.accuracy.value == 1.0


def test_two_models_of_the_decoder_are_held_against_each_other(tmp_path: Path) -> None:
    folders = {"one": 0, "other": 1}
    for name, seed in folders.items():
        save_gpt2(tmp_path / name, seed=seed)

    def open_folder(name: str) -> LanguageModel:
        return from_folder(tmp_path / name, name=name, device="cpu")

    settings = DetectSettings(scorer="one", second="other", window=48, has_learned=False)
    seen: list[Progress] = []
    detection = detect(study(3), settings, open_folder, on_progress=seen.append)
    rows = [row for row in detection.rows if row.kind == "two models"]
    assert [row.detector for row in rows] == [*JOINT_DETECTORS] * 2
    assert all(value is not None and math.isfinite(value) for row in rows for value in (*row.human, *row.model))
    assert detection.notes == ()
    assert "|second:other@" in detection.signature
    last = {each.what: each for each in seen}
    assert all(each.done == each.total for each in last.values())
    assert [*last] == ["scoring texts", "scoring texts with two models", "measuring scores"]


def test_a_second_model_that_does_not_fit_is_refused_before_anything_is_scored() -> None:
    model = ScriptedModel(judge)
    with pytest.raises(UsageError, match="does not run in evalkit's own decoder"):
        detect(study(3), DetectSettings(scorer="a", second="b"), lambda _: model)
    assert model.batches == []


def test_models_of_one_vocabulary_that_cut_texts_differently_are_refused_before_anything_is_scored(
    tmp_path: Path,
) -> None:
    for name in ("one", "other"):
        save_gpt2(tmp_path / name)
    path = tmp_path / "other" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = []  # the same tokens have the same ids, and all but bytes are never used
    path.write_text(json.dumps(content))
    seen: list[Progress] = []
    settings = DetectSettings(scorer="one", second="other", window=48)
    with pytest.raises(UsageError, match=r"^one and other cut 'A person wrote about n00") as caught:
        detect(study(3), settings, lambda name: from_folder(tmp_path / name, name=name), on_progress=seen.append)
    assert "\n" not in str(caught.value)
    assert seen == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"scorer": " "}, "--scorer: found nothing"),
        ({"second": ""}, "--second: found nothing"),
        ({"second": "nano"}, "--second: found nano, which is the scorer"),
        ({"window": 1}, "--window: found 1, expected 2 or more"),
        ({"seed": -1}, "--seed: found -1, expected 0 or more"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        DetectSettings(**settings)  # type: ignore[arg-type]


def test_a_detection_comes_back_as_it_was_saved(taught: Detection, tmp_path: Path) -> None:
    save(taught, tmp_path)
    assert load(tmp_path) == taught
    assert taught.study == study(10, models=["zanzibar"], has_control=True).signature


def test_equal_seeds_find_the_same(taught: Detection) -> None:
    assert found(study(10, models=["zanzibar"], has_control=True), has_learned=True) == taught


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: "{", "damaged, found no JSON"),
        (lambda text: text.replace('"detection"', '"study"'), "found another kind of file"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "found another kind of file"),
        (lambda text: text.replace('"zero-shot"', '"magic"'), "damaged: key 'rows.0.kind'"),
        (lambda text: json.dumps(json.loads(text) | {"articles": 3}), "damaged: key 'articles'"),
        (lambda text: re.sub(r'"high": [\d.]+', '"high": NaN', text), "damaged, found no JSON"),
        (lambda text: re.sub(r'"high": [\d.]+', '"high": 1e30', text), r"damaged: .* found 1e\+30, expected 0 to 1"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, change: Callable[[str], str], expected: str) -> None:
    save(found(study(3)), tmp_path)
    path = tmp_path / records.FILE
    path.write_text(change(path.read_text()))
    with pytest.raises(StorageError, match=expected) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"detectors.json: cannot be read: .*study detect"):
        load(tmp_path)


def test_people_stand_before_the_detectors_of_their_condition() -> None:
    people = {"timbuktu": Estimate(0.52, 0.49, 0.55, 80)}
    [table] = tables(found(study(4)), people=people)
    assert table.columns == COLUMNS
    begins = [row[:2] for row in table.rows]
    assert begins[0] == ("zanzibar", "log-likelihood")
    at = begins.index(("timbuktu", "people"))
    assert begins[at + 1] == ("timbuktu", "log-likelihood")
    assert table.rows[at][2] == Estimate(52.0, 49.0, 55.0, 80)
    assert all(len(row) == len(COLUMNS) for row in table.rows)


def test_the_table_says_what_few_texts_cannot_tell() -> None:
    [table] = tables(found(study(4)))
    assert any("1 % of 4 human texts is less than one" in note for note in table.notes)
    assert table.sources[0].startswith("detectors|seed:0|texts:")
