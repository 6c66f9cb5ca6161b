import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import metric_spec
from evalkit.errors import TaskError
from evalkit.metric_spec import Spec
from evalkit.metrics.exact import ExactMatch
from evalkit.metrics.translation import Bleu


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("exact_match", Spec("exact_match", {}, None)),
        ("exact_match()", Spec("exact_match", {}, None)),
        (" bleu( tokenize = intl ) @ strict ", Spec("bleu", {"tokenize": "intl"}, "strict")),
        ("bleu(tokenize=13a)", Spec("bleu", {"tokenize": "13a"}, None)),
        ("bleu(tokenize=ja-mecab)", Spec("bleu", {"tokenize": "ja-mecab"}, None)),
        ("x(a=true, b=False, c=none)", Spec("x", {"a": True, "b": False, "c": "none"}, None)),
        ("x(a=-3, b=0.5, c=1e-3)", Spec("x", {"a": -3, "b": 0.5, "c": 0.001}, None)),
        ("x(a='true', b=\"3\", c='')", Spec("x", {"a": "true", "b": "3", "c": ""}, None)),
        (r"x(a=[',', '\\$', b], b=[])", Spec("x", {"a": (",", r"\$", "b"), "b": ()}, None)),
        ("x(a=')@y')@flexible-extract", Spec("x", {"a": ")@y"}, "flexible-extract")),
        ("x@first (of 2)", Spec("x", {}, "first (of 2)")),
    ],
)
def test_a_metric_is_taken_apart(text: str, spec: Spec) -> None:
    assert metric_spec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "found the end, expected a metric's name"),
        ("exact match", "found 'match', expected the end"),
        ("x(", "found the end, expected a setting's name"),
        ("x(a=1", "found the end, expected ','"),
        ("x(a=1))", "found ')', expected the end"),
        ("x(a=1 b=2)", "found 'b', expected ','"),
        ("x(1)", "found '1', expected a setting's name"),
        ("x(a)", "found ')', expected '='"),
        ("x(a=)", "found ')', expected a value"),
        ("x(a=f(2))", "found '(', expected ','"),
        ("x(a=')", 'found "\'", expected a value'),
        ("x(a=1, a=2)", "setting 'a' is given twice"),
        ("x@", "found nothing after the @, expected a filter's name"),
    ],
)
def test_broken_syntax_is_named(text: str, complaint: str) -> None:
    with pytest.raises(TaskError) as error:
        metric_spec.parse(text)
    assert str(error.value) == f"metric {text!r}: {complaint}; {metric_spec.FORM}"


def test_the_canonical_form_sorts_settings_and_quotes_what_needs_it() -> None:
    spec = metric_spec.parse("x( d='intl', c=[a, '3', ',', 'none'], b=TRUE, a=1.50 )@strict")
    assert metric_spec.format(spec) == "x(a=1.5, b=true, c=[a, '3', ',', none], d=intl)@strict"


SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
WORDS = st.from_regex(r"[a-z_]{1,4}", fullmatch=True)


@given(WORDS, st.dictionaries(WORDS, VALUES, max_size=3), st.none() | WORDS)
def test_the_canonical_form_is_read_back(name: str, settings: dict[str, object], wanted: str | None) -> None:
    spec = Spec(name, settings, wanted)
    assert metric_spec.parse(metric_spec.format(spec)) == spec


def test_a_metric_is_made_with_its_settings() -> None:
    made = metric_spec.load(r"exact_match(ignore_case=true, regexes_to_ignore=['\\$'])@strict")
    assert made == ExactMatch(ignore_case=True, regexes_to_ignore=(r"\$",))
    assert metric_spec.load("bleu(tokenize=13a)") == Bleu()


def test_equal_texts_share_a_metric() -> None:
    assert metric_spec.load("chrf") is metric_spec.load("chrf")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("exact_mach", "unknown metric 'exact_mach'; did you mean 'exact_match'?"),
        ("bleu(tokenise=intl)", "unknown setting 'tokenise'; did you mean 'tokenize'?"),
        ("words(a=1)", "unknown setting 'a'; metric 'words' takes none"),
        ("multi_bleu", "missing setting 'language', which metric 'multi_bleu' needs"),
        ("exact_match(ignore_case=1)", "setting 'ignore_case': found 1, expected true or false"),
        ("exact_match(regexes_to_ignore=a)", "setting 'regexes_to_ignore': found 'a', expected a list"),
        (
            "exact_match(regexes_to_ignore=[a, 1])",
            "setting 'regexes_to_ignore[1]': found 1, expected text; put it in quotes",
        ),
        ("partial_accuracy(by=byte)", "setting 'by': found 'byte', expected 'token' or 'sum'"),
        ("chrf(word_order=two)", "setting 'word_order': found 'two', expected a whole number"),
        ("chrf(char_order=0)", "setting 'char_order': found 0, expected at least 1"),
    ],
)
def test_settings_are_held_against_the_metric(text: str, complaint: str) -> None:
    with pytest.raises(TaskError) as error:
        metric_spec.load(text)
    assert str(error.value).removeprefix(f"metric {text!r}: ") == complaint


def test_loading_a_metric_imports_neither_sacrebleu_nor_sacremoses() -> None:
    program = (
        "import sys; from evalkit import metric_spec; metric_spec.load('bleu(tokenize=intl)'); "
        "metric_spec.load('multi_bleu(language=de)'); "
        "print(sorted({'sacrebleu', 'sacremoses', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
