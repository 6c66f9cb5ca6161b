"""Every metric against lm_eval's own task class, which is given the same answers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from evalkit import metric_spec
from evalkit.errors import TaskError
from evalkit.metrics.lm_eval_names import spec_of, specs
from evalkit.records import Completion, Example, LogProb, Response

RNG = np.random.default_rng(3)


def lm_eval_scores(docs: list[dict[str, Any]], results: list[Any], **config: Any) -> dict[str, float]:
    """Score documents in lm_eval from the results of their requests."""
    keys = {"task": "task", "test_split": "test", "doc_to_text": "q", "custom_dataset": lambda: data, **config}
    data = {"test": Dataset.from_list([{"q": "q", **doc} for doc in docs])}
    task = ConfigurableTask(config=keys)
    found = [task.process_results(doc, result) for doc, result in zip(task.test_docs(), results, strict=True)]
    return {name: task.aggregation()[name]([each[name] for each in found]) for name in found[0]}


def our_score(spec: str, examples: Sequence[Example], responses: Sequence[Sequence[Response]]) -> float:
    metric = metric_spec.load(spec)
    found = [metric.statistics(example, own) for example, own in zip(examples, responses, strict=True)]
    return metric.aggregate(found).value


def likelihood(total: float, *, is_greedy: bool = False) -> LogProb:
    return LogProb(total, tokens=1, bytes=1, is_greedy=is_greedy, boundary_merged=False)


def generated(text: str) -> list[Response]:
    return [Completion(text, tokens=1, finish="stop")]


CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "f1", "mcc", "brier_score")
# Of each document the choices and the right one; lengths in characters and bytes differ, one begins with a space.
CHOICES = [
    (["no", "yes"], 0),
    (["nein", "ja, natürlich"], 1),
    (["いいえ", "hai"], 1),
    ([" spaced", "tight"], 0),
    (["a", "a rather long choice of words"], 0),
    (["x", "y"], 1),
] * 5


@pytest.mark.parametrize("delimiter", [" ", "", "\n"])
@pytest.mark.parametrize("metric", CHOICE_METRICS)
def test_multiple_choice_scores_as_in_lm_eval(metric: str, delimiter: str) -> None:
    totals = [-RNG.gamma(3, 2, size=4) for _ in CHOICES]  # conditional, then unconditional
    asked = 4 if metric == "acc_mutual_info" else 2
    expected = lm_eval_scores(
        [{"choices": choices, "gold": gold} for choices, gold in CHOICES],
        [[(float(total), False) for total in own[:asked]] for own in totals],
        output_type="multiple_choice",
        doc_to_choice="choices",
        doc_to_target="gold",
        target_delimiter=delimiter,
        metric_list=[{"metric": metric}],
    )
    (spec,) = spec_of({"metric": metric}, output_type="multiple_choice", delimiter=delimiter)
    examples = [
        Example("e", {}, (delimiter + choices[gold],), choices=tuple(delimiter + choice for choice in choices))
        for choices, gold in CHOICES
    ]
    found = our_score(spec, examples, [[likelihood(float(total)) for total in own[:asked]] for own in totals])
    assert found == pytest.approx(expected[metric], rel=1e-14)


def test_several_right_choices_score_as_in_lm_eval() -> None:
    totals = [[-1.0, -2.0, -3.0], [-2.0, -3.0, -1.0], [-3.0, -1.0, -2.0]]
    expected = lm_eval_scores(
        [{"choices": ["a", "b", "c"], "gold": [0, 1]}] * 3,
        [[(total, False) for total in own] for own in totals],
        output_type="multiple_choice",
        doc_to_choice="choices",
        doc_to_target="gold",
    )
    example = Example("e", {}, (" a", " b"), choices=(" a", " b", " c"))
    (acc, acc_norm) = specs(output_type="multiple_choice")
    answers = [[likelihood(total) for total in own] for own in totals]
    assert our_score(acc, [example] * 3, answers) == expected["acc"] == 2 / 3
    assert our_score(acc_norm, [example] * 3, answers) == expected["acc_norm"]


ANSWERS = [
    ("Paris", "Paris"),
    (" Paris", "Paris"),
    ("paris.", "Paris"),
    ("The answer: #### $1,000.", "1000"),
    ("room 12", "room"),
    ("Ünal’s", "ünals"),
    ("", ""),
    ("a\nb", "ab"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ignore_case": True},
        {"ignore_punctuation": True},
        {"ignore_numbers": True, "ignore_case": False},
        {"regexes_to_ignore": [",", r"\$", "(?s).*#### ", r"\.$"]},
        {"regexes_to_ignore": [r"\.$", ",", r"\\", "\n", '"'], "ignore_case": True, "ignore_punctuation": True},
        {"regexes_to_ignore": [r"\b(?:The |the |An |A |The |a |an )"], "ignore_numbers": True},
    ],
)
def test_exact_match_scores_as_in_lm_eval(settings: dict[str, Any]) -> None:
    entry = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, **settings}
    expected = [
        lm_eval_scores([{"a": target}], [[text]], doc_to_target="a", metric_list=[entry])["exact_match"]
        for text, target in ANSWERS
    ]
    (spec,) = spec_of(entry, output_type="generate_until")
    found = [our_score(spec, [Example("e", {}, (target,))], [generated(text)]) for text, target in ANSWERS]
    assert found == expected
    assert 0 < sum(found) < len(found)


def test_exact_match_with_several_targets_scores_as_in_lm_eval() -> None:
    targets = ["Paris", "Paris, France", "paris"]
    texts = ["Paris", "PARIS", "London", "Paris, France "]
    expected = lm_eval_scores([{"a": targets}] * 4, [[text] for text in texts], doc_to_target="a")
    (spec,) = specs(output_type="generate_until")
    found = our_score(spec, [Example("e", {}, tuple(targets))] * 4, [generated(text) for text in texts])
    assert found == expected["exact_match"] == 0.25


TRANSLATIONS = [
    ("The cat sat on the mat, it did.", "The cat sat on a mat; it did."),
    (" He won't go to St. Mary's\n", "He will not go to St. Mary's."),
    ("", "Nothing here."),
    ("Der Präsident sprach über „Europa“.", "Der Präsident sprach am 5. Mai über Europa."),
]


@pytest.mark.parametrize("metric", ["bleu", "chrf", "chrf++", "ter"])
def test_translations_score_as_in_lm_eval(metric: str) -> None:
    expected = lm_eval_scores(
        [{"a": target} for _, target in TRANSLATIONS],
        [[text] for text, _ in TRANSLATIONS],
        doc_to_target="a",
        metric_list=[{"metric": metric, "aggregation": metric, "higher_is_better": metric != "ter"}],
    )
    (spec,) = spec_of({"metric": metric, "aggregation": metric}, output_type="generate_until")
    examples = [Example("e", {}, (target,)) for _, target in TRANSLATIONS]
    found = our_score(spec, examples, [generated(text) for text, _ in TRANSLATIONS])
    assert found == pytest.approx(expected[metric], rel=1e-12)


def test_likelihoods_of_targets_score_as_in_lm_eval() -> None:
    results = [(-2.5, True), (-7.25, False), (-0.125, True)]
    expected = lm_eval_scores(
        [{"a": "x"}] * 3, [[each] for each in results], output_type="loglikelihood", doc_to_target="a"
    )
    answers = [[likelihood(total, is_greedy=is_greedy)] for total, is_greedy in results]
    perplexity, acc = specs(output_type="loglikelihood")
    example = Example("e", {}, ("x",))
    assert our_score(acc, [example] * 3, answers) == expected["acc"]
    assert our_score(perplexity, [example] * 3, answers) == pytest.approx(expected["perplexity"], rel=1e-14)


def test_whole_texts_score_as_in_lm_eval() -> None:
    texts = {"One, two.\n\nThree ": -20.5, "Ünal ging": -12.25, "": 0.0, " a": -1.5}
    expected = lm_eval_scores(
        [{"a": text} for text in texts],
        [[total] for total in texts.values()],
        output_type="loglikelihood_rolling",
        doc_to_target="a",
    )
    examples = [Example("e", {}, (text,)) for text in texts]
    answers = [[likelihood(total)] for total in texts.values()]
    found = {
        name: our_score(name, examples, answers) for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")
    }
    assert specs(output_type="loglikelihood_rolling") == list(found)
    assert found == pytest.approx(expected, rel=1e-14)
    assert not any(math.isclose(value, 1) for value in found.values())


@pytest.mark.parametrize(
    ("entry", "output_type", "spec"),
    [
        ({"metric": "acc", "aggregation": "mean", "weight_by_size": True}, "multiple_choice", "accuracy(by=sum)"),
        ({"metric": "acc_norm"}, "multiple_choice", "accuracy(by=character)"),
        ({"metric": "f1", "aggregation": "f1", "average": "macro"}, "multiple_choice", "f1_classes"),
        ({"metric": "mcc"}, "multiple_choice", "mcc"),
        ({"metric": "acc", "aggregation": "mean"}, "loglikelihood", "greedy_match"),
        (
            {"metric": "exact_match", "ignore_case": True, "ignore_numbers": False, "regexes_to_ignore": [" ", r"\$"]},
            "generate_until",
            r"exact_match(ignore_case=true, regexes_to_ignore=[' ', '\\$'], strip=false)",
        ),
        ({"metric": "accuracy", "hf_evaluate": True}, "generate_until", "exact_match(strip=false)"),
        ({"metric": "f1", "hf_evaluate": True, "average": "micro"}, "generate_until", "exact_match(strip=false)"),
        ({"metric": "chrf++"}, "generate_until", "chrf(word_order=2)"),
    ],
)
def test_entries_are_written_as_metrics(entry: Mapping[str, object], output_type: str, spec: str) -> None:
    assert spec_of(entry, output_type=output_type) == [spec]
    assert metric_spec.load(spec)


def test_the_delimiter_is_written_where_it_is_no_space() -> None:
    def of(metric: str) -> list[str]:
        return spec_of({"metric": metric}, output_type="multiple_choice", delimiter="\n")

    assert of("acc_norm") == [r"accuracy(by=character, delimiter='\n')"]
    assert of("acc") == ["accuracy(by=sum)"]


def test_choices_within_the_question_have_a_metric_of_their_own() -> None:
    assert spec_of({"metric": "acc"}, output_type="multiple_choice", is_partial=True) == ["partial_accuracy(by=sum)"]
    assert specs(output_type="multiple_choice", is_partial=True) == ["partial_accuracy(by=sum)"]


@pytest.mark.parametrize(
    ("entry", "output_type", "complaint"),
    [
        (
            {"metric": "exact_mach"},
            "generate_until",
            "metric 'exact_mach' is not known for output type generate_until; did you mean 'exact_match'?",
        ),
        (
            {"metric": "bleu", "tokenize": "intl"},
            "generate_until",
            "metric 'bleu': unknown setting 'tokenize'; known: aggregation, hf_evaluate, higher_is_better, metric",
        ),
        (
            {"metric": "exact_match", "ignore_cas": True},
            "generate_until",
            "metric 'exact_match': unknown setting 'ignore_cas'; did you mean 'ignore_case'?",
        ),
        (
            {"metric": "acc", "aggregation": "median"},
            "multiple_choice",
            "metric 'acc': found the aggregation 'median', expected mean or nanmean",
        ),
        (
            {"metric": "rouge", "hf_evaluate": True},
            "generate_until",
            "metric 'rouge' of the evaluate library with the "
            "settings {} is not known; known: accuracy, f1 (f1 with average: micro) of generated text",
        ),
        (
            {"aggregation": "mean"},
            "generate_until",
            "key 'metric_list': found None, expected a metric's name under 'metric'",
        ),
    ],
)
def test_what_is_not_known_is_refused(entry: Mapping[str, object], output_type: str, complaint: str) -> None:
    with pytest.raises(TaskError) as error:
        spec_of(entry, output_type=output_type)
    assert str(error.value) == complaint
