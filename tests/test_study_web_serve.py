"""The server's process: how it starts, what keeps it from starting, and how it ends."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from evalkit.articles import directory
from evalkit.articles.web.serve import _address, serve
from evalkit.articles.web.settings import ServeSettings
from evalkit.articles.web.store import Store
from evalkit.errors import DataError, EvalkitError, StorageError, UsageError
from tests import studies


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory.save(studies.study(), tmp_path / "study")
    return tmp_path / "study"


def refusal(settings: ServeSettings, kind: type[EvalkitError]) -> str:
    """Return why a server does not start."""
    with pytest.raises(kind) as caught:
        serve(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(place: Path, number: int) -> None:
    with studies.serving(place) as served:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        served.process.send_signal(number)
        rest, _ = served.process.communicate(timeout=20)
        assert served.process.returncode == 0
        assert "Traceback" not in rest
        # The log is folded in: the one file is all there is.
        assert sorted(path.name for path in place.iterdir()) == ["answers.sqlite", "study.json"]


def test_it_says_where_it_is_and_a_token_that_it_made_opens_the_admins_part(place: Path) -> None:
    command = [sys.executable, "-c", studies.SERVE.replace(repr(studies.ADMIN), "None"), str(place), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        where, admin = process.stdout.readline(), process.stdout.readline()
        port = int(where.partition("127.0.0.1:")[2].partition("/")[0])
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/admin", headers={"Authorization": f"Bearer {admin.rpartition(' ')[2].strip()}"})
        status = connection.getresponse().status
        process.terminate()
    assert status == 200


def test_a_token_that_was_given_is_not_printed(place: Path) -> None:
    with studies.serving(place) as served:
        served.process.terminate()
        rest, _ = served.process.communicate(timeout=20)
    assert studies.ADMIN not in rest


def test_a_port_that_is_taken_is_told(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal(ServeSettings(place, port=port), UsageError)
    assert message == (
        f"--host 127.0.0.1 --port {port}: taken by another program; choose another --port, or 0 for any that is free"
    )


def test_an_address_of_another_machine_is_told(place: Path) -> None:
    assert "--host 192.0.2.1 --port 8000: cannot listen there" in refusal(
        ServeSettings(place, host="192.0.2.1"), UsageError
    )


def test_a_directory_without_a_study_is_told(tmp_path: Path) -> None:
    assert "found no study, expected study.json in it" in refusal(ServeSettings(tmp_path), StorageError)


def test_a_consent_file_that_is_missing_is_told(place: Path) -> None:
    assert "none.txt" in refusal(ServeSettings(place, consent=place / "none.txt"), DataError)


def test_answers_of_another_study_are_told(place: Path) -> None:
    with Store(place, study=studies.study(seed=9)):
        pass
    assert "found answers about another study" in refusal(ServeSettings(place, port=0), StorageError)


def test_who_waits_for_the_disk_keeps_nobody_else_waiting(place: Path) -> None:
    with studies.serving(place) as served:
        waiting = HTTPConnection("127.0.0.1", served.port, timeout=20)
        waiting.request("GET", "/")
        start = waiting.getresponse()
        cookie = (start.getheader("set-cookie") or "").partition(";")[0]
        token = re.findall(r'name="token" value="([^"]*)"', start.read().decode())[0]
        disk = sqlite3.connect(place / "answers.sqlite", isolation_level=None)
        disk.execute("BEGIN IMMEDIATE")
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        waiting.request("POST", "/begin", f"token={token}", headers)
        time.sleep(0.3)
        other = HTTPConnection("127.0.0.1", served.port, timeout=3)
        other.request("GET", "/")
        assert other.getresponse().status == 200
        disk.execute("ROLLBACK")
        disk.close()
        assert waiting.getresponse().status == 303


def test_a_port_that_is_taken_leaves_the_study_as_it_was(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refusal(ServeSettings(place, port=taken.getsockname()[1]), UsageError)
    assert [path.name for path in place.iterdir()] == ["study.json"]


@pytest.mark.parametrize("is_behind_proxy", [False, True])
def test_a_proxys_word_about_the_client_counts_where_there_is_one(place: Path, is_behind_proxy: bool) -> None:
    code = studies.SERVE.replace("port=int(port)", f"port=int(port), is_behind_proxy={is_behind_proxy}")
    with subprocess.Popen([sys.executable, "-c", code, str(place), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().partition("127.0.0.1:")[2].partition("/")[0])
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1"})
        cookie = connection.getresponse().getheader("set-cookie") or ""
        process.terminate()
    assert ("Secure" in cookie) is is_behind_proxy


def test_a_second_server_in_a_directory_is_refused(place: Path) -> None:
    with studies.serving(place):
        message = refusal(ServeSettings(place, port=0), StorageError)
    assert message == f"{place}: another server asks about this study; stop it first, one writes at a time"


def test_without_the_web_packages_the_extra_is_named(place: Path) -> None:
    code = f"import sys; sys.modules['uvicorn'] = None\n{studies.SERVE}"
    found = subprocess.run(
        [sys.executable, "-c", code, str(place), "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 2
    assert found.stdout == "study serve: uvicorn is not installed; pip install 'evalkit[study]'\n"


def test_a_form_is_refused_by_its_length_before_it_is_sent(place: Path) -> None:
    with studies.serving(place) as served, socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
        client.sendall(
            b"POST /begin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 10000000000\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", b"\x00" * 9]
)
def test_what_is_no_request_does_not_end_it(place: Path, sent: bytes) -> None:
    with studies.serving(place) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
            client.sendall(sent + b"\r\n\r\n")
            assert b"Traceback" not in client.recv(10_000)
        connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_the_address_it_says_is_one_a_browser_can_go_to(host: str, shown: str) -> None:
    with socket.create_server((host, 0)) as listening:
        assert _address(listening) == f"http://{shown}:{listening.getsockname()[1]}/"


def test_it_serves_at_an_address_of_ipv6(place: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    code = studies.SERVE.replace("port=int(port)", "port=int(port), host='::1'")
    with subprocess.Popen([sys.executable, "-c", code, str(place), "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().partition("http://[::1]:")[2].partition("/")[0])
        connection = HTTPConnection("::1", port, timeout=10)
        connection.request("GET", "/")
        status = connection.getresponse().status
        process.terminate()
    assert status == 200
