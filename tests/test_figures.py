"""What every figure has in common: its files, and that equal points are equal bytes."""

import csv
import io
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evalkit.errors import StorageError
from evalkit.records import Estimate, Result, Table
from evalkit.report.content import Figure
from evalkit.report.figures import drawing, files, shots, style

HOSTILE = '<script>alert("x")</script> $\\frac$ \u202e\0 中文 --> ]]>'


def result(task: str, number: int, estimate: Estimate | None, **changes: object) -> Result:
    fields: dict[str, object] = {
        "task": task,
        "title": task,
        "shots": number,
        "shots_used": float(number),
        "model": "nano",
        "metric": "exact match",
        "is_proportion": True,
        "subset": "all",
        "estimate": estimate,
        "skipped": 0,
        "signature": "",
        "spec": "exact_match",
    }
    return Result(**(fields | changes))


@cache
def drawn() -> Figure:
    results = [
        result(task, number, Estimate(value, value - 0.1, value + 0.05, 40 + number), title=f"{task} {HOSTILE}")
        for task in ("=addition", "subtraction")
        for number, value in ((0, 0.25), (10, 0.5))
    ]
    found = shots.by_shots(results)
    assert found is not None
    return found


def test_each_form_begins_as_its_kind_does(tmp_path: Path) -> None:
    paths = files.write(tmp_path / "figures", drawn())
    assert [path.name for path in paths] == [f"score-by-shots.{form}" for form in ("svg", "pdf", "png", "csv")]
    begins = [path.read_bytes()[:8] for path in paths]
    assert begins[0].startswith(b"<svg ")
    assert begins[1].startswith(b"%PDF-")
    assert begins[2] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)


def test_the_points_stand_beside_the_pictures(tmp_path: Path) -> None:
    path = files.write(tmp_path, drawn())[-1]
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert [(row["shots"], row["score"], row["score low"], row["score high"], row["score n"]) for row in rows] == [
        ("0", "25.0", "15.0", "30.0", "40"),
        ("10", "50.0", "40.0", "55.0", "50"),
    ] * 2


def test_a_disk_that_refuses_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another --out"):
        files.write(tmp_path / "file" / "figures", drawn())


def test_a_pdf_has_its_fonts() -> None:
    assert b"/FontFile2" in drawn().saved("pdf")
    assert b"/Type3" not in drawn().saved("pdf")
    assert b"CreationDate" not in drawn().saved("pdf")


def test_an_svg_holds_outlines_alone() -> None:
    svg = drawn().svg
    root = ElementTree.fromstring(svg)
    tags = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert tags <= {"svg", "g", "path", "use", "defs", "clipPath", "rect"}
    names = {name.rpartition("}")[2] for each in root.iter() for name in each.attrib}
    assert not {name for name in names if name.startswith("on")}
    assert "style" not in names  # which a page's policy may forbid
    links = [value for each in root.iter() for name, value in each.attrib.items() if name.endswith("href")]
    assert links
    assert all(link.startswith("#score-by-shots-") for link in links)
    assert "<script" not in svg
    assert "<!--" not in svg


def test_what_an_svg_refers_to_is_in_it() -> None:
    svg = drawn().svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= set(ids)


def test_ink_takes_the_colour_of_the_page() -> None:
    assert style.INK not in drawn().svg
    assert 'stroke="currentColor"' in drawn().svg


def test_equal_points_are_equal_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from evalkit.report.figures import files; "
        "from tests import test_figures; files.write(Path(sys.argv[1]), test_figures.drawn())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, tmp_path / "other"], env=environment, cwd=root, check=True)
    for path in files.write(tmp_path / "own", drawn()):
        assert (tmp_path / "other" / path.name).read_bytes() == path.read_bytes()


def test_settings_of_others_neither_change_a_figure_nor_are_changed() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        with drawing.drawing(2, 1) as empty:
            empty.add_subplot()
            shown = drawing.finish(empty, name="empty", title="t", caption="c", data=Table((), (), ""))
        assert dict(matplotlib.rcParams) == before
    assert "<text" not in shown.svg


def test_a_long_name_keeps_both_ends() -> None:
    shown = style.label("hf:/data/models/meta-llama/Llama-3.2-1B-Instruct", width=16)
    lines = shown.split("\n")
    assert len(lines) <= 2
    assert max(map(len, lines)) <= 16
    assert shown.startswith("hf:/data")
    assert shown.endswith("Instruct")
    assert "…" in shown


def test_characters_that_the_font_has_not_are_marked() -> None:
    assert style.plain("a 中\0é") == "a �\\x00é"
