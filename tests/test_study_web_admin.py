"""The admin's part of a study's pages."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from evalkit.articles import answers
from evalkit.articles.web.admin import TRIES_AT_ONCE
from evalkit.articles.web.app import create_app
from evalkit.articles.web.keys import HOURS
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from tests import studies
from tests.study_visits import Visitor

TOKEN = "a token for tests"
FILES = ("/admin/answers.csv", "/admin/codes.csv")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Starlette]:
    study = studies.study()
    with Store(tmp_path, study=study) as store:
        yield create_app(study, store, ServeSettings(tmp_path, admin_token=TOKEN))


@pytest.fixture
def admin(app: Starlette) -> Visitor:
    found = Visitor(app)
    assert found.post("/admin", {"token": TOKEN}).location == "/admin"
    return found


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


@pytest.mark.parametrize("path", ["/admin", *FILES])
def test_nothing_is_shown_without_the_token(app: Starlette, path: str) -> None:
    Visitor(app).begin()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"authorization": "é"}):
        reply = Visitor(app, headers=headers).get(path)
        assert reply.status == 401
        assert not re.search("zanzibar|begun", reply.body)


def test_a_wrong_token_is_told(app: Starlette) -> None:
    for token in ("", "wrong", TOKEN + "x", "é\x00"):
        visitor = Visitor(app)
        reply = visitor.post("/admin", {"token": token})
        assert (reply.status, visitor.cookies) == (401, {})
        assert 'role="alert"' in reply.body


def test_the_header_opens_as_the_cookie_does(app: Starlette) -> None:
    for path in ("/admin", *FILES):
        assert Visitor(app, headers={"authorization": f"Bearer {TOKEN}"}).get(path).status == 200


def test_the_cookie_of_a_visit_is_for_the_admin_alone_and_ends(app: Starlette) -> None:
    found = Visitor(app).post("/admin", {"token": TOKEN}).header("set-cookie") or ""
    assert {"HttpOnly", "SameSite=strict", "Path=/admin", f"Max-Age={HOURS * 3600}"} <= set(found.split("; "))
    assert TOKEN not in found


def test_a_cookie_that_is_changed_opens_nothing(admin: Visitor) -> None:
    [(name, value)] = admin.cookies.items()
    until, _, mark = value.partition(".")
    for changed in (f"{int(until) + 1}.{mark}", f"{until}.", "", ".", f"x.{mark}", mark):
        admin.cookies[name] = changed
        assert admin.get("/admin").status == 401


def test_another_token_ends_visits(tmp_path: Path) -> None:
    study = studies.study()
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(study, store, ServeSettings(tmp_path, admin_token=TOKEN)))
        visitor.post("/admin", {"token": TOKEN})
        visitor.app = create_app(study, store, ServeSettings(tmp_path, admin_token="another token"))
        assert visitor.get("/admin").status == 401


def test_without_a_token_nobody_is_let_in(tmp_path: Path) -> None:
    study = studies.study()
    with Store(tmp_path, study=study) as store:
        app = create_app(study, store, ServeSettings(tmp_path))
        assert Visitor(app).post("/admin", {"token": ""}).status == 401
        assert Visitor(app, headers={"authorization": "Bearer "}).get("/admin").status == 401


def test_the_token_cannot_be_tried_often(app: Starlette) -> None:
    statuses = [Visitor(app).post("/admin", {"token": "wrong"}).status for _ in range(TRIES_AT_ONCE + 1)]
    assert statuses == [401] * TRIES_AT_ONCE + [429]
    assert Visitor(app, headers={"authorization": "Bearer wrong"}).get("/admin").status == 429
    assert Visitor(app, "10.0.0.2").post("/admin", {"token": TOKEN}).status == 303


def test_progress_counts_by_condition_and_quiz(app: Starlette, admin: Visitor, tmp_path: Path) -> None:
    for steps in (5, 5, 2, 0):  # of 5: two finish, one stops before the check
        visitor = Visitor(app)
        visitor.begin()
        visitor.go(steps)
    header, *rows, total = cells(admin.get("/admin").body)
    assert header[:6] == ["condition", "quiz", "begun", "finished", "passed the check", "answers"]
    assert [row[:3] for row in rows] == [[name, quiz, "1"] for name in ("zanzibar", "timbuktu") for quiz in "AB"]
    assert total[:6] == ["all", "", "4", "2", "2", "10"]
    assert [sum(int(row[place]) for row in rows) for place in range(2, 6)] == [4, 2, 2, 10]


def test_progress_has_the_median_of_seconds(app: Starlette, admin: Visitor, tmp_path: Path) -> None:
    import sqlite3

    visitor = Visitor(app)
    visitor.begin()
    visitor.go(4)
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        for place, seconds in enumerate((10, 20, 90)):
            connection.execute("UPDATE answers SET seconds = ? WHERE position = ?", (seconds, place))
    connection.close()
    assert cells(admin.get("/admin").body)[-1][-1] == "20.0"


def test_the_export_is_the_answers_as_csv(app: Starlette, admin: Visitor, tmp_path: Path) -> None:
    for steps in (5, 1, 0):
        visitor = Visitor(app)
        visitor.begin()
        visitor.go(steps)
    reply = admin.get("/admin/answers.csv")
    assert reply.header("content-disposition") == 'attachment; filename="answers.csv"'
    assert reply.header("content-type") == "text/csv; charset=utf-8"
    path = tmp_path / "exported.csv"
    path.write_text(reply.body, encoding="utf-8")
    assert answers.read_csv(path) == answers.load(tmp_path)


def test_codes_are_those_that_participants_saw_and_stand_beside_nobody(app: Starlette, admin: Visitor) -> None:
    codes = []
    for steps in (5, 5, 4):
        visitor = Visitor(app)
        visitor.begin()
        visitor.go(steps)
        codes += re.findall(r"<code>(.*?)</code>", visitor.open("/thanks").body)
    rows = list(csv.reader(io.StringIO(admin.get("/admin/codes.csv").body)))
    assert rows == [["code", "attended"], *([code, "yes"] for code in sorted(codes))]
    assert len(codes) == 2
