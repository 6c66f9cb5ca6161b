"""What the pages of a study do with hostile requests and hostile texts."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette

from evalkit.articles import answers
from evalkit.articles.records import Study
from evalkit.articles.web.app import create_app
from evalkit.articles.web.limits import MOST_ADDRESSES, Limit
from evalkit.articles.web.security import MOST_BYTES, MOST_FIELDS
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from evalkit.errors import StorageError, UsageError
from tests import studies
from tests.study_visits import FORM, Reply, Visitor

HOSTILE = (
    '</p></article><script>window.ran = 1</script><img src=x onerror="window.ran = 1"> \x00\u202eevil\u202c '
    "{{ 7 * 7 }} {% raw %} &amp; \x1b[31m\ud800 javascript:window.ran=1 ${7*7} <style>*{display:none}</style>"
)
SAFE = (
    "default-src 'none'; style-src 'sha256-{}='; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@pytest.fixture
def study() -> Study:
    return studies.study()


@pytest.fixture
def app(tmp_path: Path, study: Study) -> Iterator[Starlette]:
    with Store(tmp_path, study=study) as store:
        yield create_app(study, store, ServeSettings(tmp_path))


@pytest.fixture
def visitor(app: Starlette) -> Visitor:
    found = Visitor(app)
    found.begin()
    return found


def is_clean(reply: Reply) -> bool:
    """Tell whether a reply is a small page that tells nothing of the program."""
    return (
        len(reply.body) < 12_000
        and reply.body.count("<h1") == 1
        and not re.search("Traceback|starlette|sqlite|File &#34;|Error", reply.body)
    )


def test_every_reply_carries_the_headers(app: Starlette, visitor: Visitor) -> None:
    replies = [visitor.get(path) for path in ("/", "/article/1", "/article/9", "/nowhere", "/admin", "/instructions")]
    replies += [visitor.post("/article/1", {}), visitor.ask("PUT", "/"), visitor.get("/", host="evil.example")]
    assert {reply.status for reply in replies} == {200, 303, 404, 401, 403, 405, 400}
    for reply in replies:
        policy = re.sub("sha256-[^=]*", "sha256-{}", reply.header("content-security-policy") or "")
        assert policy == SAFE
        assert reply.header("x-content-type-options") == "nosniff"
        assert reply.header("x-frame-options") == "DENY"
        assert reply.header("referrer-policy") == "no-referrer"
        assert reply.header("cache-control") == "no-store"


def test_the_cookie_is_not_for_scripts_nor_for_other_sites_forms(app: Starlette) -> None:
    found = Visitor(app).get("/").header("set-cookie") or ""
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(found.split("; "))


def test_behind_a_proxy_that_speaks_tls_the_cookie_is_for_tls_alone(app: Starlette) -> None:
    def secured(scope, receive, send):  # type: ignore[no-untyped-def]
        return app({**scope, "scheme": "https"}, receive, send)

    assert "Secure" in (Visitor(secured).get("/").header("set-cookie") or "")


@pytest.mark.parametrize("path", ["/begin", "/article/1", "/check"])
def test_a_form_without_its_token_is_refused(visitor: Visitor, tmp_path: Path, path: str) -> None:
    for token in ("", "x", "é" * 22, visitor.get("/article/1").token[:-1] + "\ud800"):
        reply = visitor.post(path, {"token": token.encode("utf-8", "surrogatepass"), "choice": 1})
        assert (reply.status, is_clean(reply)) == (403, True)
    assert answers.load(tmp_path)[0].answers == ()


def test_a_form_of_another_page_or_participant_is_refused(app: Starlette, visitor: Visitor) -> None:
    other = Visitor(app)
    other.begin()
    token = visitor.get("/article/1").token
    assert visitor.post("/article/2", {"token": token, "choice": 1}).status == 403
    assert other.post("/article/1", {"token": token, "choice": 1}).status == 403


def test_a_form_that_another_site_sends_is_refused(visitor: Visitor) -> None:
    form = {"token": visitor.get("/article/1").token, "choice": 1}
    assert visitor.post("/article/1", form, sec_fetch_site="cross-site").status == 403
    assert visitor.post("/article/1", form, sec_fetch_site="same-origin").status == 303


@pytest.mark.parametrize("cookie", ["", "x", "é", "a" * 44, "\x7f" * 44, "a" * 5000, ";;;=", '"'])
def test_a_cookie_that_was_not_made_here_is_none(app: Starlette, cookie: str) -> None:
    visitor = Visitor(app)
    visitor.get("/")
    [name] = visitor.cookies
    visitor.cookies = {name: cookie}
    assert visitor.get("/article/1").location == "/"
    assert visitor.get("/").status == 200
    assert visitor.cookies[name] not in {cookie, ""}


def test_a_ticket_that_is_changed_anywhere_is_not_known(app: Starlette, visitor: Visitor) -> None:
    [ticket] = visitor.cookies.values()
    for place in range(len(ticket)):
        changed = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
        reply = Visitor(app).get(f"/resume/{changed}")
        # The last character of 22 holds two bits that stand for nothing, but they are compared all the same.
        assert reply.status == 404, place


@pytest.mark.parametrize("link", ["x", "é", "a" * 44, "a" * 9000, "..", "%00", "<script>"])
def test_a_link_that_was_not_made_here_is_not_known(app: Starlette, link: str) -> None:
    reply = Visitor(app).get(f"/resume/{link}")
    assert (reply.status, is_clean(reply)) == (404, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/article/0", 404),
        ("GET", "/article/5", 404),
        ("GET", "/article/-1", 404),
        ("GET", "/article/one", 404),
        ("GET", "/article/" + "9" * 4000, 404),
        ("GET", "/article/9999999999999999999999", 404),
        ("GET", "/article/" + "9" * 5000, 404),  # more digits than Python reads
        ("POST", "/article/" + "9" * 5000, 404),
        ("GET", "/article/١", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/answers.sqlite", 404),
        ("GET", "/style.css", 404),
        ("GET", "/begin", 405),
        ("POST", "/", 405),
        ("POST", "/thanks", 405),
        ("DELETE", "/article/1", 405),
        ("TRACE", "/", 405),
        ("GET\x00", "/", 405),
        ("POST", "/article/1", 415),
    ],
)
def test_a_request_for_what_is_not_there_gets_a_small_page(
    visitor: Visitor, method: str, path: str, status: int
) -> None:
    reply = visitor.ask(method, path)
    assert (reply.status, is_clean(reply)) == (status, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"%",
        b"=&=&=",
        b"\xff\xfe",
        b"token",
        b"token=%ff&choice=%00",
        b"a=1&" * (MOST_FIELDS - 1),
        b"{}",
        b"\x00" * 99,
    ],
)
def test_a_broken_form_is_refused(visitor: Visitor, body: bytes) -> None:
    reply = visitor.ask("POST", "/article/1", body, headers={"content-type": FORM})
    assert (reply.status, is_clean(reply)) == (403, True)


def test_a_form_of_too_many_fields_is_refused(visitor: Visitor) -> None:
    reply = visitor.ask("POST", "/article/1", b"a=1&" * (MOST_FIELDS + 1), headers={"content-type": FORM})
    assert (reply.status, is_clean(reply)) == (400, True)


def test_a_form_that_is_too_large_is_refused(visitor: Visitor) -> None:
    body = b"token=" + b"x" * MOST_BYTES
    reply = visitor.ask("POST", "/article/1", body, headers={"content-type": FORM})
    assert (reply.status, is_clean(reply)) == (413, True)


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000, "-1", "one", "\xb2"])
def test_a_form_that_is_said_to_be_too_large_is_refused(visitor: Visitor, length: str) -> None:
    reply = visitor.ask("POST", "/article/1", headers={"content-type": FORM, "content-length": length})
    assert (reply.status, is_clean(reply)) == (413, True)


def test_a_form_of_another_kind_is_refused(visitor: Visitor) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x", ""):
        reply = visitor.ask("POST", "/article/1", b"{}", headers={"content-type": kind})
        assert (reply.status, is_clean(reply)) == (415, True)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LocalHost.", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("10.0.0.7", 400),
        ("", 400),
        ("[::1", 400),
        ("localhost@evil.example", 400),
        ("evil.example@localhost\x00", 400),
    ],
)
def test_requests_for_another_host_are_refused(app: Starlette, host: str, status: int) -> None:
    assert Visitor(app).get("/", host=host).status == status


@pytest.mark.parametrize(("host", "status"), [("study.example", 200), ("evil.example", 400), ("192.168.0.7:80", 200)])
def test_a_server_for_all_addresses_answers_to_addresses_and_the_names_it_is_given(
    tmp_path: Path, study: Study, host: str, status: int
) -> None:
    with Store(tmp_path, study=study) as store:
        settings = ServeSettings(tmp_path, host="0.0.0.0", names=("study.example",))
        assert Visitor(create_app(study, store, settings)).get("/", host=host).status == status


def test_an_address_that_asks_too_often_has_to_wait_and_others_have_not(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        app = create_app(study, store, ServeSettings(tmp_path, requests_at_once=5, requests_a_second=0.1))
        statuses = [Visitor(app, "10.0.0.1").get("/").status for _ in range(6)]
        refused = Visitor(app, "10.0.0.1").get("/")
        assert statuses == [200] * 5 + [429]
        assert refused.header("retry-after") == "10"
        assert is_clean(refused)
        assert Visitor(app, "10.0.0.2").get("/").status == 200


def test_an_address_begins_so_often_and_may_go_on_with_what_it_has_begun(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        app = create_app(study, store, ServeSettings(tmp_path, begins_at_once=2, begins_a_minute=1))
        visitors = [Visitor(app) for _ in range(3)]
        begun = [visitor.post("/begin", {"token": visitor.get("/").token}).status for visitor in visitors]
        assert begun == [303, 303, 429]
        assert visitors[0].answer("/article/1").location == "/article/2"
        assert len(answers.load(tmp_path)) == 2


def test_a_bucket_fills_by_its_rate_up_to_its_size() -> None:
    seconds = [0.0]
    limit = Limit(a_second=2, at_once=3, clock=lambda: seconds[0])
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 1]
    seconds[0] = 0.5  # one request later
    assert [limit.wait("a") for _ in range(2)] == [0, 1]
    seconds[0] = 100
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 1]


def test_addresses_of_one_network_of_ipv6_share_a_bucket() -> None:
    limit = Limit(a_second=1, at_once=1)
    assert [limit.wait(each) for each in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:1.2.3.4")] == [
        0,
        1,
        0,
        0,
    ]


def test_a_limit_remembers_so_many_addresses() -> None:
    limit = Limit(a_second=0.001, at_once=1)
    limit.wait("first")
    for number in range(MOST_ADDRESSES):
        limit.wait(str(number))
    assert limit.wait("first") == 0
    assert limit.wait(str(MOST_ADDRESSES - 1)) > 0


def hostile(study: Study, text: str) -> Study:
    """Put a text everywhere that a participant sees one."""
    articles = tuple(replace(each, title=text, subtitle=text, text=text) for each in study.articles)
    conditions = tuple(
        replace(each, written={name: replace(one, text=text) for name, one in each.written.items()})
        for each in study.conditions
    )
    return replace(study, title=text, articles=articles, conditions=conditions)


def test_hostile_text_is_text(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(hostile(study, HOSTILE), store, ServeSettings(tmp_path), consent=HOSTILE))
        start = visitor.get("/").body
        visitor.begin()
        for page in (start, visitor.get("/article/1").body):
            assert "<script" not in page
            assert "<img" not in page
            assert "{{ 7 * 7 }}" in page
            assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\ud800-\udfff]", page)
            assert len(re.findall("<article>|</article>", page)) in {0, 2}
            assert "&amp;amp;" in page


def test_a_line_of_a_million_characters_is_shown_whole(tmp_path: Path, study: Study) -> None:
    line = "word" * 250_000
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(hostile(study, line), store, ServeSettings(tmp_path)))
        visitor.begin()
        assert visitor.get("/article/1").body.count(line) == 3


def test_a_title_that_is_empty_leaves_a_heading_for_screen_readers(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(hostile(study, "\u200b "), store, ServeSettings(tmp_path)))
        visitor.begin()
        assert '<h1 class="unseen">Article 1</h1>' in visitor.get("/article/1").body


def test_what_fails_in_the_program_is_said_in_a_line_and_shown_as_a_small_page(tmp_path: Path, study: Study) -> None:
    said: list[str] = []
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(replace(study, conditions=()), store, ServeSettings(tmp_path), say=said.append))
        visitor.begin()
        reply = visitor.get("/article/1")
    assert (reply.status, is_clean(reply), reply.header("x-frame-options")) == (500, True, "DENY")
    assert len(said) == 1
    assert "\n" not in said[0]


def test_an_answer_that_the_disk_refuses_is_not_acknowledged(tmp_path: Path, study: Study) -> None:
    said: list[str] = []
    with Store(tmp_path, study=study) as store:
        visitor = Visitor(create_app(study, store, ServeSettings(tmp_path), say=said.append))
        visitor.begin()
        form = {"token": visitor.get("/article/1").token, "choice": 1}
        store._connection.execute("PRAGMA query_only = ON")
        reply = visitor.post("/article/1", form)
        assert (reply.status, is_clean(reply)) == (503, True)
        store._connection.execute("PRAGMA query_only = OFF")
        assert visitor.post("/article/1", form).location == "/article/2"
    assert len(said) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 70_000}, "--port: found 70000, expected 0 to 65535"),
        ({"host": ""}, "--host: found '', expected the name or address of a machine"),
        ({"names": ("a b",)}, "--name: found 'a b', expected the name or address of a machine"),
        ({"names": ("http://a",)}, "--name: found 'http://a', expected the name or address of a machine"),
        ({"admin_token": "short"}, "--admin-token: found 5 characters"),
        ({"admin_token": "ééééééééééééé"}, "--admin-token: found 13 characters"),
        ({"requests_a_second": 0.0}, "--requests-a-second: found 0.0, expected a number above 0"),
        ({"begins_a_minute": float("nan")}, "--begins-a-minute: found nan, expected a number above 0"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        ServeSettings(tmp_path, **changes)


def test_answers_about_another_study_are_left_alone(tmp_path: Path, study: Study) -> None:
    with Store(tmp_path, study=study):
        pass
    with pytest.raises(StorageError, match="found answers about another study"):
        Store(tmp_path, study=replace(study, signature="another"))
