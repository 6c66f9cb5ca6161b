"""How long a report's page with 20,000 samples takes to write and to open, and how large it is.

python benchmarks/report_page.py

Ten tasks of 2,000 samples, of which each has a question of its own and ten demonstrations out of its task's pool of
2,000; a prompt has about 1,000 tokens. Words are drawn in Zipf's frequencies, from a seed. The page is opened from disk
in Chromium, without a window, as often as --rounds says, and medians are printed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from evalkit.records import Completion, Estimate, Example, Prompt, Sample, Table
from evalkit.report.content import Page, ShownSample
from evalkit.report.page import page

TASKS, SAMPLES, SHOTS, POOL = 10, 2000, 10, 2000
WORDS = 70  # of a demonstration, and of a question
VOCABULARY = 20_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FRAMES = """() => new Promise((done) => {
  const times = []; let last = performance.now(); let left = 120;
  const step = () => {
    const now = performance.now(); times.push(now - last); last = now; scrollBy(0, 60);
    left-- ? requestAnimationFrame(step) : done(times.sort((a, b) => a - b));
  };
  requestAnimationFrame(step);
})"""


class Language:
    """Words of random letters, drawn in Zipf's frequencies."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgk"
        self.words = ["".join(self.random.choices(letters, k=self.random.randint(2, 9))) for _ in range(VOCABULARY)]
        self.weights = list(accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))

    def say(self, count: int) -> str:
        """Draw a text of so many words."""
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=count))


def samples(language: Language) -> Iterator[ShownSample]:
    """Make the samples of all tasks; a tenth is dirty, half is right."""
    for task in range(TASKS):
        pool = [f"Question: {language.say(WORDS)}\nAnswer: {language.say(2)}" for _ in range(POOL)]
        for number in range(SAMPLES):
            question = language.say(WORDS)
            shown = language.random.sample(range(POOL), SHOTS)
            context = "\n\n".join([*(pool[place] for place in shown), f"Question: {question}\nAnswer:"])
            is_right = language.random.random() < 0.5
            sample = Sample(
                task=f"task-{task}",
                shots=SHOTS,
                example=Example(f"test-{number}", {"question": question}, (f" {language.say(2)}",)),
                prompt=Prompt(context, tuple(f"pool-{place}" for place in shown), SHOTS, 1000, 2048),
                responses=(Completion(f" {language.say(2)}", 2, "stop"),),
                statistics={"exact_match": (float(is_right),)},
            )
            yield ShownSample(sample, model="model", is_right=is_right, is_dirty=language.random.random() < 0.1)


def opened(tab: Tab, url: str) -> dict[str, float]:
    """Open the page and use it; milliseconds."""
    tab.goto(url, wait_until="commit")
    tab.wait_for_selector("#browser:not([hidden])")
    tab.wait_for_load_state("load")
    times: dict[str, float] = {
        "first paint": tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
        "samples listed": tab.evaluate("performance.getEntriesByName('samples')[0].startTime"),
        "page read": tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"),
    }
    for name, action, done in (
        ("sample opened", lambda: tab.press(".rows a", "Enter"), ".detail:not([hidden])"),
        ("first search", lambda: tab.fill("[name=search]", "test-1999"), ".count:has-text('of 20,000')"),
        ("next search", lambda: tab.fill("[name=search]", "test-777"), ".count:has-text('10 of')"),
    ):
        start = time.perf_counter()
        action()
        tab.wait_for_selector(done)
        times[name] = 1000 * (time.perf_counter() - start)
    tab.fill("[name=search]", "")
    tab.evaluate("scrollTo(0, 0)")
    frames = tab.evaluate(FRAMES)
    return times | {"frame while scrolling": statistics.median(frames), "slowest frame": frames[-1]}


def main() -> None:
    """Write the page, open it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"found none of {', '.join(BROWSERS)}; install one")
    shown = list(samples(Language(0)))
    scores = Table(("task", "score"), (("task-0", Estimate(50.0, 48.0, 52.0, SAMPLES)),), "Scores")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        start = time.perf_counter()
        page.write(Path(folder), Page("20,000 samples", (scores,), samples=shown))
        seconds = time.perf_counter() - start
        characters = sum(len(each.sample.prompt.context) for each in shown if each.sample.prompt)
        print(f"written in {seconds:.1f} s, from {characters / 1e6:.0f} MB of prompts")
        path = Path(folder) / page.FILE
        print(f"file {path.stat().st_size / 1e6:.1f} MB")
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        found = []
        for _ in range(rounds):
            tab = started.new_page()
            found.append(opened(tab, path.as_uri()))
            tab.close()
        started.close()
    for name in found[0]:
        print(f"{name:24}{statistics.median(each[name] for each in found):8.0f} ms")


if __name__ == "__main__":
    main()
