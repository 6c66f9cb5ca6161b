import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import metric_spec
from evalkit.interfaces import Metric, ScoresTotals, Signed
from evalkit.metrics import moses
from evalkit.metrics.multi_bleu import MultiBleu
from evalkit.metrics.translation import Bleu, Chrf, Ter, bleu
from evalkit.records import Completion, Example

HYPOTHESES = [
    "The cat sat on the mat, and it did not move for 3,000 years.",
    " He said: “I won't go to St. Mary's” — and went.\n",
    "",
    "Completely different words here",
    "In 2016 the U.S. Senate voted 52-48 against the so-called “deal”.",
    "Der Präsident sprach am 5. Mai über „Europa“.",
    "yes",
]
REFERENCES = [
    ["The cat was sitting on the mat and had not moved for 3,000 years."],
    ['He said: "I will not go to St. Mary\'s", and he went.', "He said, \"I won't go to St. Mary's\", and went."],
    ["An empty answer gets nothing."],
    ["Nothing is shared with that."],
    [
        "In 2016, the US Senate voted 52–48 against the so-called deal.",
        "The Senate voted the deal down in 2016.",
        "No.",
    ],
    ["Am 5. Mai sprach der Präsident über „Europa“."],
    ["no"],
]
METRICS = [
    (Bleu(), sacrebleu.BLEU()),
    (Bleu(tokenize="intl"), sacrebleu.BLEU(tokenize="intl")),
    (Bleu(tokenize="char", lowercase=True), sacrebleu.BLEU(tokenize="char", lowercase=True)),
    (Bleu(smooth="none"), sacrebleu.BLEU(smooth_method="none")),
    (Chrf(), sacrebleu.CHRF()),
    (Chrf(word_order=2), sacrebleu.CHRF(word_order=2)),
    (Chrf(char_order=3, beta=1, lowercase=True), sacrebleu.CHRF(char_order=3, beta=1, lowercase=True)),
    (Ter(), sacrebleu.TER()),
    (Ter(normalized=True, no_punct=True, case_sensitive=True), sacrebleu.TER(True, True, False, True)),
]
IDS = [f"{type(metric).__name__}-{place}" for place, (metric, _) in enumerate(METRICS)]


def statistics(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[float, ...]]:
    return [
        metric.statistics(Example("e", {}, tuple(targets)), [Completion(text, tokens=1, finish="stop")])
        for text, targets in zip(hypotheses, references, strict=True)
    ]


def score(metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    totals = np.sum(statistics(metric, hypotheses, references), axis=0, keepdims=True)
    assert isinstance(metric, ScoresTotals)
    (value,) = metric.score_totals(totals, np.array([float(len(hypotheses))]))
    return float(value)


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Arrange references as sacrebleu takes them: a list a reference, None where a sentence has fewer."""
    most = max(map(len, references))
    return [[each[place] if place < len(each) else None for each in references] for place in range(most)]


@pytest.mark.parametrize(("metric", "oracle"), METRICS, ids=IDS)
def test_the_score_of_a_corpus_is_sacrebleus(metric: Metric, oracle: sacrebleu.BLEU) -> None:
    expected = oracle.corpus_score(HYPOTHESES, streams(REFERENCES)).score
    assert score(metric, HYPOTHESES, REFERENCES) == pytest.approx(expected, rel=1e-12)
    assert metric.aggregate(statistics(metric, HYPOTHESES, REFERENCES)).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("metric", "oracle"), METRICS, ids=IDS)
@pytest.mark.parametrize("place", range(len(HYPOTHESES)))
def test_the_score_of_a_sentence_is_sacrebleus(metric: Metric, oracle: sacrebleu.BLEU, place: int) -> None:
    hypotheses, references = HYPOTHESES[place : place + 1], REFERENCES[place : place + 1]
    expected = oracle.corpus_score(hypotheses, streams(references)).score
    assert score(metric, hypotheses, references) == pytest.approx(expected, rel=1e-12, abs=1e-12)


TEXTS = st.text("aab B.,'1-ü\n ", max_size=25)


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_corpus_scores_as_with_sacrebleu(corpus: list[tuple[str, list[str]]]) -> None:
    hypotheses, references = [each for each, _ in corpus], [each for _, each in corpus]
    for metric, oracle in METRICS:
        expected = oracle.corpus_score(hypotheses, streams(references)).score
        assert score(metric, hypotheses, references) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("metric", "oracle"), METRICS, ids=IDS)
def test_many_sets_of_examples_are_scored_at_once(metric: Metric, oracle: sacrebleu.BLEU) -> None:
    counted = np.array(statistics(metric, HYPOTHESES, REFERENCES))  # (E, S)
    drawn = np.array([[0, 0, 1, 4], [2, 2, 2, 2], [5, 1, 5, 6], [3, 3, 2, 6]])
    assert isinstance(metric, ScoresTotals)
    found = metric.score_totals(counted[drawn].sum(axis=1), np.full(4, 4.0))
    expected = [
        oracle.corpus_score([HYPOTHESES[e] for e in row], streams([REFERENCES[e] for e in row])).score for row in drawn
    ]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", [metric for metric, _ in METRICS] + [MultiBleu(language="de")])
def test_white_space_around_changes_nothing(metric: Metric) -> None:
    around = [f" \t{text} \n\n" for text in HYPOTHESES]
    targets = [[f"\n {target}\u00a0 " for target in each] for each in REFERENCES]
    assert statistics(metric, around, targets) == statistics(metric, HYPOTHESES, REFERENCES)


@pytest.mark.parametrize(("metric", "oracle"), METRICS, ids=IDS)
def test_the_signature_is_sacrebleus_without_the_references(metric: Metric, oracle: sacrebleu.BLEU) -> None:
    oracle.corpus_score(["a"], [["a"]])
    expected = str(oracle.get_signature())  # such as nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0
    assert isinstance(metric, Signed)
    statistics(metric, HYPOTHESES, REFERENCES)
    assert f"nrefs:1|{metric.signature}" == expected


def test_names_tell_metrics_apart() -> None:
    # chrF2++: sacrebleu's name, with beta.
    assert [Bleu().name, Bleu(tokenize="intl").name, Chrf().name, Chrf(word_order=2).name, Ter().name] == [
        "BLEU",
        "BLEU (intl)",
        "chrF2",
        "chrF2++",
        "TER",
    ]


def multi_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """multi-bleu.perl in plain Python, on text that is tokenized already."""
    correct, total, written, wanted = Counter[int](), Counter[int](), 0, 0
    for hypothesis, own in zip(hypotheses, references, strict=True):
        words = hypothesis.split()
        lengths = [len(each.split()) for each in own]
        written += len(words)
        wanted += min(lengths, key=lambda length: (abs(length - len(words)), length))
        for n in range(1, 5):
            found = Counter(zip(*(words[k:] for k in range(n)), strict=False))
            most: Counter[tuple[str, ...]] = Counter()
            for each in own:
                most |= Counter(zip(*(each.split()[k:] for k in range(n)), strict=False))
            correct[n] += sum(min(count, most[ngram]) for ngram, count in found.items())
            total[n] += sum(found.values())
    if not all(correct[n] for n in range(1, 5)):
        return 0.0
    penalty = math.exp(1 - wanted / written) if written < wanted else 1.0
    return 100 * penalty * math.exp(sum(math.log(correct[n] / total[n]) for n in range(1, 5)) / 4)


@pytest.mark.parametrize("language", ["en", "de", "fr", "ro"])
@pytest.mark.parametrize("places", [range(7), [0], [4], [2, 3], [1, 4]])
def test_multi_bleu_is_that_of_the_script_on_moses_tokens(language: str, places: Sequence[int]) -> None:
    def tokens(text: str) -> str:
        return moses.tokenize(text, language=language)

    expected = multi_bleu(
        [tokens(HYPOTHESES[e]) for e in places], [[tokens(each) for each in REFERENCES[e]] for e in places]
    )
    metric = MultiBleu(language=language)  # type: ignore[arg-type]
    found = score(metric, [HYPOTHESES[e] for e in places], [REFERENCES[e] for e in places])
    assert found == pytest.approx(expected, rel=1e-12)
    if places == range(7):
        assert found > 0


def test_multi_bleu_does_not_smooth() -> None:
    # Three words share no 4-gram: multi-bleu.perl prints 0, sacrebleu's default smooths.
    assert score(MultiBleu(language="en"), ["a b c"], [["a b c"]]) == 0.0
    assert score(Bleu(), ["a b c x d"], [["a b c y d"]]) > 0.0


def test_multi_bleu_names_what_it_depends_on() -> None:
    assert MultiBleu(language="ro").signature.startswith("case:mixed|tok:xlm-moses-ro|smooth:none|sacremoses:")


def test_bleu_of_nothing_is_zero() -> None:
    assert bleu(np.zeros((2, 10)), smooth="exp").tolist() == bleu(np.zeros((2, 10)), smooth="none").tolist() == [0, 0]


# Expected tokens follow the scripts' text (mosesdecoder, wmt16-scripts), line by line.
@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("en", "It's 5,300 dollars, Mr. Smith.", "It 's 5,300 dollars , Mr. Smith ."),
        ("en", "He went to the U.S.", "He went to the U.S ."),  # a last full stop is split off (mosesdecoder #204)
        ("en", "Wait... what", "Wait ... what"),
        ("en", "Wait...", "Wait ..."),
        ("en", "a <b> & [c]", "a < b > & [ c ]"),  # -no-escape
        ("en", "He said “yes”.", 'He said " yes . "'),  # in English a full stop goes before the quote...
        ("en", "‘so’ it is", "\" so ' it is"),  # ’ became ' in the first script, ‘ a double quote in the second
        ("de", "Er sagte: „Gut.“", 'Er sagte : " Gut " .'),  # ...and behind it in German
        ("ro", "El a zis: „Bun.”", 'El a zis : " Bun " .'),  # every language but English and Czech
        ("cs", "Řekl: „Dobře.“", 'Řekl : " Dobře . "'),
        ("fr", "L'homme d'or : « Oui »", "L' homme d' or : \" Oui \""),
        ("de", "10\u00a0000 Euro", "10,000 Euro"),
        ("en", "10\u00a0000 euros", "10.000 euros"),
        ("en", "zero\u200bwidth", "zero width"),  # a character that is not printed leaves a space
        ("ro", "Şi ţară, şi țară în România", "Si tara , si tara in Romania"),
        ("de", "Şi ţară", "Şi ţară"),
        ("en", "one\ntwo", "one two"),
        ("en", " ", ""),
    ],
)
def test_text_is_prepared_as_xlm_does(language: str, text: str, tokens: str) -> None:
    assert moses.tokenize(text, language=language) == tokens


def test_settings_that_change_the_score_stand_in_the_name() -> None:
    assert metric_spec.load("bleu(lowercase=true, smooth=none)").name == "BLEU (lower case, not smoothed)"
    assert metric_spec.load("bleu(tokenize=intl)").name == "BLEU (intl)"
