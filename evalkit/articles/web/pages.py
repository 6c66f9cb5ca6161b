"""The pages as HTML: what participants read, and what the admin sees. Whose text is shown is not known here."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evalkit.articles.length import count_words
from evalkit.articles.records import CHOICES, Study
from evalkit.report.page.markup import HIDDEN

HERE = Path(__file__).parent
WORDS_A_MINUTE = 200  # of reading
SECONDS_A_CHOICE = 15
BLANK_LINES = re.compile(r"\n\s*\n")
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")

REASONS: Mapping[int, tuple[str, str]] = {
    400: ("This request cannot be read", "It was not made by one of the study’s pages."),
    401: ("This is the admin’s", "It opens with the token that was printed when the server was started."),
    403: (
        "This form cannot be taken",
        "Your browser did not send the cookie that holds your place in the study, or the form is not yours. Allow "
        "cookies for this page, or open your personal link again.",
    ),
    404: ("There is no such page", "Check the address, or go on with the study."),
    405: ("There is no such page", "Check the address, or go on with the study."),
    408: ("Your answer did not arrive in time", "Go on with the study and answer again."),
    413: ("This form is too large", "Go on with the study and answer again."),
    415: ("This form cannot be read", "Go on with the study and answer again."),
    429: ("Too many requests at once", "Your answers are kept. Wait a moment, then load this page again."),
    500: ("Something went wrong", "Your earlier answers are kept. Load this page again, please."),
    503: (
        "Your answer could not be kept",
        "Your earlier answers are. Load this page again in a moment, and send the form again if your browser asks.",
    ),
}
OTHERWISE = ("This does not work", "Go on with the study, please.")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a participant sees of an article."""

    title: str
    subtitle: str
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer is sent with, and back to."""

    action: str
    token: str
    link: str  # the participant's own
    is_incomplete: bool = False  # was sent without a choice


def start(study: Study, *, token: str, consent: str) -> str:
    """Say what the study is and what is recorded, and ask for consent; `consent` is the researcher's own text."""
    return _render("start.html", articles=len(study.articles), minutes=minutes(study), token=token, consent=consent)


def instructions(study: Study, *, link: str, onward: str) -> str:
    """Say what to do, and how to come back."""
    return _render("instructions.html", articles=len(study.articles), link=link, onward=onward)


def article(shown: Shown, *, place: int, of: int, form: Form) -> str:
    """Show an article, `place` from 1, and ask who wrote it."""
    return _render("article.html", shown=shown, place=place, of=of, form=form)


def check(*, answered: int, of: int, form: Form, asked: int) -> str:
    """Ask for the answer that the page names, `asked` a place in CHOICES, from 1."""
    return _render("check.html", answered=answered, of=of, form=form, asked=CHOICES[asked - 1])


def thanks(code: str) -> str:
    """Give the completion code."""
    return _render("thanks.html", code=code)


def kept_before() -> str:
    """Say that an article has another answer already, which stays."""
    return _render(
        "message.html",
        title="You have answered this already",
        text="The first answer to each article stays, and another one was sent before.",
        onward="/",
    )


def error(status: int) -> str:
    """Say what went wrong, for an HTTP status."""
    title, text = REASONS.get(status, OTHERWISE)
    return _render("message.html", title=title, text=text, onward="/")


def admin_door(*, is_wrong: bool) -> str:
    """Ask for the admin's token."""
    return _render("admin_door.html", is_wrong=is_wrong)


def admin(study: Study, *, header: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str]) -> str:
    """Show how far participants are, a row a condition and quiz."""
    return _render("admin.html", title=study.title, header=header, rows=rows, total=total)


def minutes(study: Study) -> int:
    """Estimate how long the quiz takes, in steps of five minutes, from the lengths of what people wrote."""
    words = sum(count_words(each.text) for each in study.articles)
    seconds = 60 * words / WORDS_A_MINUTE + SECONDS_A_CHOICE * len(study.articles)
    return 5 * math.ceil(seconds / 300)


@cache
def style() -> str:
    """Return the one style of all pages."""
    return (HERE / "style.css").read_text(encoding="utf-8")


def style_source() -> str:
    """Name the style as a Content-Security-Policy does."""
    return f"'sha256-{base64.b64encode(sha256(style().encode()).digest()).decode()}'"


def clean(text: str) -> str:
    """Leave out what cannot be seen and could turn other text round: controls, marks of direction, half surrogates."""
    return HIDDEN.sub("", LINE_ENDS.sub("\n", text))


def paragraphs(text: str) -> list[str]:
    """Split a text at its line breaks, one or several alike, with one blank for any other white space between words.

    So nobody's habit of breaking lines shows, nor a program's of blanks that are wide or do not break.
    """
    return [" ".join(line.split()) for line in clean(text).split("\n") if line.strip()]


def blocks(text: str) -> list[str]:
    """Split a researcher's text at its blank lines, as text files have paragraphs."""
    return [" ".join(block.split()) for block in BLANK_LINES.split(clean(text)) if block.strip()]


def sentence(choice: str) -> str:
    """Begin a choice with a capital letter."""
    return choice[:1].upper() + choice[1:]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"clean": clean, "paragraphs": paragraphs, "blocks": blocks, "sentence": sentence}
    # Of our own file, and hashed for the policy as it stands.
    made.globals |= {"style": Markup(style()), "choices": CHOICES}
    return made


def _render(name: str, **values: Any) -> str:  # Any: what a template takes
    return _environment().get_template(name).render(values)
