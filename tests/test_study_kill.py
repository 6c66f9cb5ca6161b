"""A server that is killed: what it acknowledged is kept, once, whatever the client sends again."""

import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest

from evalkit.articles import answers, directory, quizzes
from evalkit.articles.records import CHOICES
from tests import studies

ARTICLES = 12
KILLS = 5
PARTICIPANTS = 4
FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Stubborn:
    """Takes one quiz after another until told to end, and sends everything again until there is a reply."""

    port: int
    draws: random.Random
    cookie: str = ""
    acknowledged: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # by link: places and choices
    lost: int = 0  # requests without a reply
    wrong: list[str] = field(default_factory=list)

    def take(self, ending: threading.Event) -> None:
        while not ending.is_set():
            self.cookie = ""
            self.ask("POST", "/begin", {"token": self.token(self.ask("GET", "/"))})
            path = "/article/1"
            link = ""
            while path != "/thanks" and not ending.is_set():
                page = self.ask("GET", path)
                link = re.findall(r"/resume/([^\"]*)", page)[0]
                choice = asked(page) if path == "/check" else self.draws.randint(1, 5)
                led = re.findall(
                    r"(?m)^location: (\S+)", self.ask("POST", path, {"token": self.token(page), "choice": choice})
                )
                if not led:
                    self.wrong.append(path)
                    return
                if path != "/check":
                    self.acknowledged.setdefault(link, []).append((int(path.rpartition("/")[2]) - 1, choice))
                path = led[0]

    def ask(self, method: str, path: str, fields: dict | None = None) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                headers = {"Cookie": self.cookie} | ({"Content-Type": FORM} if fields else {})
                connection.request(method, path, urlencode(fields) if fields else None, headers)
                reply = connection.getresponse()
                body = reply.read().decode()
            except (OSError, HTTPException):
                self.lost += 1
                time.sleep(0.01)
                continue
            finally:
                connection.close()
            if cookie := reply.getheader("set-cookie"):
                self.cookie = cookie.partition(";")[0]
            return f"location: {reply.getheader('location')}\n" * (reply.status == 303) + body
        raise AssertionError(f"{method} {path}: no reply for a minute")

    @staticmethod
    def token(page: str) -> str:
        return re.findall(r'name="token" value="([^"]*)"', page)[0]


def asked(page: str) -> int:
    [name] = re.findall("“(.*?)”", page)
    return 1 + CHOICES.index(name[0].lower() + name[1:])


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_acknowledged_answer_is_lost_and_none_is_doubled_when_the_server_is_killed(tmp_path: Path) -> None:
    study = studies.study(ARTICLES)
    directory.save(study, tmp_path)
    with studies.serving(tmp_path) as served:
        port = served.port
        clients = [Stubborn(port, random.Random(number)) for number in range(PARTICIPANTS)]
        ending = threading.Event()
        threads = [threading.Thread(target=each.take, args=[ending], daemon=True) for each in clients]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        served.process.kill()
        served.process.wait()
    draws = random.Random(0)
    for kill in range(1, KILLS + 1):
        with studies.serving(tmp_path, port=port) as served:
            time.sleep(draws.uniform(0.3, 0.8))
            if kill == KILLS:
                ending.set()
                for thread in threads:
                    thread.join(30)
            served.process.kill()
            served.process.wait()

    assert not any(thread.is_alive() for thread in threads)
    assert [each.wrong for each in clients] == [[]] * PARTICIPANTS
    assert sum(each.lost for each in clients) > 0  # the server was killed while they asked
    found = answers.load(tmp_path)
    given = [tuple((each.position, each.choice) for each in participant.answers) for participant in found]
    kept = Counter(filter(None, given))
    told = Counter(tuple(answered) for each in clients for answered in each.acknowledged.values())
    assert sum(map(len, told.elements())) > PARTICIPANTS * KILLS
    assert kept == told
    for participant in found:
        own = [each.article for each in participant.answers]
        assert own == list(quizzes.order(study, participant.id))[: len(own)]
