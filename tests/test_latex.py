"""Tables as LaTeX: what stands in the files, and that both engines set them without a complaint."""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.records import Cell, Estimate, Marked, Table
from evalkit.report import latex, latex_text
from evalkit.report import table as tables
from evalkit.report.latex_columns import Style
from tests.test_report import HOSTILE, HOSTILE_TABLE

SCORE = Estimate(58.0, 55.83, 60.14, n=2000)
EVEN = Estimate(50.0, 47.81, 52.19, n=2000)
STYLES: tuple[Style, ...] = ("plain", "siunitx")


def table(*rows: tuple[Cell, ...], columns: Sequence[str] = ("task", "0 shots, %"), **changes: object) -> Table:
    return replace(Table(tuple(columns), rows, "Exact match in % of nano"), **changes)  # type: ignore[arg-type]


def row(text: str, label: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"    {label} &")]
    return [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]


def wide(numbers: int, *, tasks: int = 1) -> Table:
    columns = ("task", *(f"{number} shots, %" for number in range(numbers)))
    return table(*((f"task {number}", *[SCORE] * numbers) for number in range(tasks)), columns=columns)


def test_value_and_interval_are_columns_of_their_own() -> None:
    text = latex.render(table(("2D+", SCORE), ("2D-", None)))
    assert r"\begin{tabular}{lr@{\ }l}" in text
    assert r"task & \multicolumn{2}{c}{0 shots, \%} \\" in text
    assert row(text, "2D+") == ["2D+", "$58.00$", r"{\scriptsize$[55.83, 60.14]$}"]
    assert row(text, "2D-") == ["2D-", "--", ""]


def test_siunitx_is_told_signs_and_digits() -> None:
    text = latex.render(table(("a", -1.5), ("b", 123.456), ("c", None), ("d", 2.5e9)), style="siunitx")
    assert r"\usepackage{siunitx}" in text
    assert r"\begin{tabular}{lS[table-format=-3.2]}" in text
    cells = [row(text, label)[1] for label in "abcd"]
    assert cells == ["-1.50", "123.46", "{--}", r"{$2.50\times 10^{9}$}"]


@pytest.mark.parametrize(("style", "value"), [("plain", r"$\infty$"), ("siunitx", r"{$\infty$}")])
def test_a_number_without_bound_is_set_as_infinity(style: Style, value: str) -> None:
    text = latex.render(table(("a", Estimate(math.inf, 2.0, math.inf, n=9)), ("b", 1.5)), style=style)
    assert row(text, "a")[1:] == [value, r"{\scriptsize$[2.00, \infty]$}"]


def test_half_an_interval_has_its_power_of_ten() -> None:
    text = latex.render(tables.plusminus(table(("a", Estimate(3e7, 2e7, 4e7, n=9)))))
    assert row(text, "a")[2] == r"{\scriptsize$\pm 1.00\times 10^{7}$}"


@pytest.mark.parametrize(("style", "best"), [("plain", r"$\mathbf{58.00}$"), ("siunitx", r"\bfseries 58.00")])
def test_the_best_is_bold(style: Style, best: str) -> None:
    text = latex.render(table(("a", Marked(SCORE, is_best=True)), ("b", EVEN)), style=style)
    assert row(text, "a")[1] == best


def test_signs_are_superscripts_beside_the_number() -> None:
    text = latex.render(table(("a", Marked(SCORE, signs=("†", "*"))), ("b", EVEN)))
    assert r"\begin{tabular}{lr@{}l@{\ }l}" in text
    assert row(text, "a")[1:3] == ["$58.00$", r"\textsuperscript{\textdagger{}\textasteriskcentered{}}"]
    assert row(text, "b")[2] == ""


def test_symmetric_intervals_are_plusminus_where_that_is_asked_for() -> None:
    built = tables.plusminus(table(("a", EVEN), ("b", SCORE)))
    text = latex.render(built)
    assert [row(text, label)[2] for label in "ab"] == [
        r"{\scriptsize$\pm 2.19$}",
        r"{\scriptsize$[55.83, 60.14]$}",  # 2.17 below and 2.14 above
    ]
    assert "reaches as far below the number as above it" in built.notes[0]


def test_no_note_explains_what_is_not_there() -> None:
    assert tables.plusminus(table(("a", SCORE))).notes == ()


def test_what_numbers_rest_on_is_part_of_the_caption_and_not_of_lists_of_tables() -> None:
    text = latex.render(table(("a", SCORE), sources=("N = 8, corpus 3fa9c1", "a|v1")))
    assert r"\caption[{Exact match in \% of nano}]{\raggedright Exact match in \% of nano. N = 8, corpus" in text
    assert r"3fa9c1. a\textbar{}v1.}" in text


def test_a_wide_table_is_set_in_parts_that_repeat_the_labels() -> None:
    text = latex.render(wide(12))
    headings = [line for line in text.splitlines() if line.lstrip().startswith("task & ")]
    assert len(headings) > 1
    assert [name for line in headings for name in re.findall(r"\{(\d+) shots", line)] == [str(n) for n in range(12)]
    assert text.count(r"\begin{table}") == 1


def test_a_wide_and_long_table_lies_sideways() -> None:
    text = latex.render(wide(5, tasks=25))
    assert r"\usepackage{rotating}" in text
    assert r"\begin{sidewaystable}" in text
    assert len(re.findall(r"^    task \d+ &", text, re.MULTILINE)) == 25


def test_a_narrow_table_keeps_its_size() -> None:
    assert r"{\footnotesize\setlength" not in latex.render(wide(2))


def test_a_long_table_goes_on_in_another_with_the_same_number() -> None:
    text = latex.render(wide(1, tasks=60))
    assert text.count(r"\begin{table}") == 2
    assert text.count(r"\caption") == 1
    assert r"\tablename~\thetable{} (continued)" in text
    assert len(re.findall(r"^    task \d+ &", text, re.MULTILINE)) == 60


def test_long_labels_are_broken() -> None:
    text = latex.render(table(("a long name that says much of what the task asks", SCORE)))
    assert r"\begin{tabular}[t]{@{}l@{}}a long name that says much of \\ what the task asks\end{tabular} &" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & more_or #1", r"50 \% \& more\_or \#1"),
        ("a--b ,, '' `", r"a-{}-b ,{}, '{}' \textasciigrave{}"),
        ("naïve Å Ø ł", r"na\"{\i}ve \r{A} \O{} \l{}"),
        ("α ≤ †", r"$\alpha$ $\leq$ \textdagger{}"),
        ("x\0\u202ey\nz", "x y z"),
        ("中", r"\texttt{U+4E2D}\allowbreak{}"),
    ],
)
def test_text_prints_as_itself(text: str, expected: str) -> None:
    assert latex_text.escape(text) == expected


def test_headings_are_broken_between_words() -> None:
    text = latex.render(table(("a", 1.0), columns=("task", "relative difference, %")))
    assert r"\begin{tabular}[b]{@{}r@{}}relative \\ difference, \\ \%\end{tabular}" in text


def test_signatures_can_be_broken() -> None:
    assert latex_text.breakable("arithmetic|v1|shots:0,1,10|seed:0").count(r"\allowbreak") == 7


def test_no_character_acts_by_accident() -> None:
    text = latex.render(HOSTILE_TABLE)
    body = re.sub(r"\\resizebox.*", "", text[text.index(r"\caption") : text.index(r"\end{table}")])
    assert not re.search(r"[#~^<>|\"_]", re.sub(r"\\[a-zA-Z]+|\\.", "", body))
    plain = re.sub(r"\\.", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not any(line.lstrip().startswith(("[", "*")) for line in text.splitlines())


def document(style: Style) -> str:
    """All that may go wrong: marks, powers of ten, minus signs, widths, lengths, hostile text."""
    marked = Marked(SCORE, is_best=True, signs=("†", "‡", "*", "§"))
    found = [
        HOSTILE_TABLE,
        table((HOSTILE, marked), ("b", None), ("c", -1.5), ("d", 2.5e9), sources=("a|v1|shots:0,1,10|" * 9,)),
        tables.plusminus(table(("a", marked), ("b", EVEN), ("c", Marked(-1.5, is_best=True)))),
        wide(12, tasks=5),
        wide(4, tasks=50),
        replace(wide(3, tasks=60), notes=("/a/long/path" * 20, "word " * 400, "中é" * 90, "x" * 300)),
        table((1234567, True, "text"), (None, False, None), columns=("n", "is", "x" * 90)),
    ]
    packages = ["booktabs", "graphicx", "rotating", *["siunitx"] * (style == "siunitx")]
    loaded = "".join(f"\\usepackage{{{name}}}\n" for name in packages)
    text = "".join(latex.render(each, style=style) for each in found)
    head = "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n"
    return f"{head}{loaded}\\begin{{document}}\n\\listoftables\n{text}\\end{{document}}\n"


@pytest.mark.parametrize("style", STYLES)
def test_every_environment_that_begins_ends_and_every_row_has_all_columns(style: Style) -> None:
    open_now: list[str] = []
    for match in re.finditer(r"\\(begin|end)\{(\w+)\}", document(style)):
        if match[1] == "begin":
            open_now.append(match[2])
        else:
            assert open_now.pop() == match[2]
    assert open_now == []
    pattern = r"^  \\begin\{tabular\}\{([^\n]*)\}$\n(.*?)^  \\end\{tabular\}"
    found = re.findall(pattern, document(style), re.DOTALL | re.MULTILINE)
    assert len(found) > 5
    for given, body in found:
        layout = re.sub(r"@\{[^}]*\}|S\[[^]]*\]", lambda match: "S" * match[0].startswith("S"), given)
        _, *rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(layout) - 1}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_engines_set_tables_without_a_complaint(engine: str, style: Style, tmp_path: Path) -> None:
    compiler, finder = shutil.which(engine), shutil.which("kpsewhich")
    if compiler is None or finder is None:
        pytest.skip(f"no {engine} is installed; the structure is checked above")
    if style == "siunitx" and not subprocess.run([finder, "siunitx.sty"], capture_output=True, check=False).stdout:
        pytest.skip("TeX is installed without siunitx; the structure is checked above")
    (tmp_path / "page.tex").write_text(document(style), encoding="utf-8")
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    for _ in range(2):  # the list of tables is known from the second time on
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "page.log").read_text(errors="replace")
    complaints = re.findall(r"^.*(?:Warning|Overfull|Underfull|Missing character).*$", log, re.MULTILINE)
    # An installation may lack fonts of its own, which TeX replaces.
    assert [line for line in complaints if "Font Warning" not in line] == []
