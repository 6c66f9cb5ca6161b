"""How many participants one server of a study bears: a quiz of 25 articles, taken by 200 at once over loopback.

python benchmarks/study_load.py [PARTICIPANTS [ARTICLES]]
"""

from __future__ import annotations

import asyncio
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.articles import answers, directory
from evalkit.articles.records import CHOICES, Article, Condition, Exclusions, Study, Written

WORDS = 216  # of an article, as in the paper (Brown 2020, Table 3.11)
STARTED_A_SECOND = 200  # participants; a browser's own wait for a connection would be measured otherwise
SERVE = """
import sys
from pathlib import Path
from evalkit.articles.web.serve import serve
from evalkit.articles.web.settings import ServeSettings
settings = ServeSettings(Path(sys.argv[1]), port=0, requests_a_second=1e6, requests_at_once=10**6, begins_at_once=10**6)
serve(settings, say=lambda line: print(line, flush=True))
"""


@dataclass(slots=True)
class Client:
    """One participant's browser: a connection that is kept, and a cookie."""

    port: int
    cookie: str = ""
    seconds: list[float] = field(default_factory=list)  # of each request
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def take(self, choice: int = 2) -> None:
        """Take the quiz, every article with one choice, attentively; AssertionError for a reply that is none."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        start = await self.ask("GET", "/")
        path = await self.lead("/begin", f"token={_token(start)}")
        page = await self.ask("GET", path)
        path = re.findall(r'class="button" href="([^"]*)"', page)[0]
        while path != "/thanks":
            page = await self.ask("GET", path)
            path = await self.lead(path, f"token={_token(page)}&choice={_asked(page) or choice}")
        assert "completion code" in await self.ask("GET", path)
        self.writer.close()

    async def lead(self, path: str, form: str) -> str:
        """Send a form, and return where it leads."""
        return re.findall(r"(?m)^location: (\S+)", await self.ask("POST", path, form, expected=303))[0]

    async def ask(self, method: str, path: str, form: str = "", *, expected: int = 200) -> str:
        """Ask once; return the head and the body of the reply."""
        assert self.reader is not None
        assert self.writer is not None
        kind = "Content-Type: application/x-www-form-urlencoded\r\n" if form else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {self.cookie}\r\n{kind}"
        started = time.perf_counter()
        self.writer.write(f"{head}Content-Length: {len(form)}\r\n\r\n{form}".encode())
        got = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        body = await self.reader.readexactly(int(re.findall(r"(?m)^content-length: (\d+)", got)[0]))
        self.seconds.append(time.perf_counter() - started)
        assert got.startswith(f"HTTP/1.1 {expected} "), f"{method} {path}: {got.splitlines()[0]}"
        if cookie := re.findall(r"(?m)^set-cookie: ([^;]*)", got):
            self.cookie = cookie[0]
        return got + body.decode()


def _token(page: str) -> str:
    return re.findall(r'name="token" value="([^"]*)"', page)[0]


def _asked(page: str) -> int | None:
    """Find the choice that an attention check names; None for an article."""
    named = re.findall("“(.*?)”", page)
    return 1 + CHOICES.index(named[0][0].lower() + named[0][1:]) if named else None


async def take(port: int, *, participants: int) -> list[float]:
    """Let participants take the quiz of a server at once; return the seconds of all their requests."""
    clients = [Client(port) for _ in range(participants)]

    async def begin(client: Client, place: int) -> None:
        await asyncio.sleep(place / STARTED_A_SECOND)
        await client.take()

    await asyncio.gather(*(begin(client, place) for place, client in enumerate(clients)))
    return [each for client in clients for each in client.seconds]


def study(articles: int) -> Study:
    """Make a study of articles of the usual length."""
    text = "word " * WORDS
    made = tuple(Article(f"a{place}", f"Title {place}", "Subtitle", text) for place in range(articles))
    written = {each.id: Written(each.id, text, 5, 0) for each in made}
    conditions = tuple(Condition(name, False, name, None, written) for name in ("one", "two"))
    return Study("Load", 0, made, tuple(each.id for each in made[::2]), conditions, Exclusions(), "load")


def main(participants: int = 200, articles: int = 25) -> None:
    """Print requests a second and how long they took."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        directory.save(study(articles), place)
        with subprocess.Popen([sys.executable, "-c", SERVE, folder], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline().partition("127.0.0.1:")[2].partition("/")[0])
                started = time.perf_counter()
                seconds = asyncio.run(take(port, participants=participants))
                elapsed = time.perf_counter() - started
            finally:
                server.terminate()
        given = sum(len(each.answers) for each in answers.load(place))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"{participants} participants, {articles} articles: {len(seconds):,} requests and {given:,} answers in "
        f"{elapsed:.1f} s, {len(seconds) / elapsed:,.0f} requests a second"
    )
    print(f"a request: median {1000 * cuts[49]:.0f} ms, 99th percentile {1000 * cuts[98]:.0f} ms, all without an error")
    busy = used.ru_utime + used.ru_stime
    print(f"the server: {1000 * busy / len(seconds):.2f} ms of one core a request, its start in it")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
