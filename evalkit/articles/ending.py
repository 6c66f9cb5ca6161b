"""Cut a text clean: after a whole sentence, at the one nearest to a number of words.

A sentence ends at a full stop, question mark, exclamation mark or ellipsis, with the quotes and brackets that close
after it, where the text, its paragraph or a new sentence follows: one that begins with a capital, a digit, or a letter
of a script without capitals. The stops of abbreviations, initials, numbers and numbered lists end none, unless a
paragraph ends there that an abbreviation can end (`in the U.S.`). An end inside an open quotation is taken only where
its paragraph ends too, or where the text has no other.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from evalkit.articles.length import word_starts

LONGEST = 40  # characters of a word that a full stop may belong to

# What may close after the mark, and in scripts that write no space between sentences the mark alone.
_MARK = re.compile(r"(?:[.!?…؟।]+|[。！？])[\"'”’»)\]]*(?=\s|$)|[。！？][”’」』）]*")
_PARAGRAPH = re.compile(r"[^\S\n]*(?:\n|$)")
_NEXT = re.compile(r"\s*[\"'“‘«(\[「『—–-]*\s*(\S)")
_LAST_WORD = re.compile(r"[^\s\"'“‘«(\[—–]+$")
_INITIAL = re.compile(r"(?:[^\W\d_]\.)+")  # of a name, or U.S. and a.m.
_LIST = re.compile(r"(?:^|\n[^\S\n]*|[.!?…]\s+)\d{1,3}\.$")  # `1.` begins an item

_TITLES = re.compile(  # stand before a name or a number, so nothing ever ends with them
    r"(?:mr|mrs|ms|mx|dr|prof|rev|fr|sr|sen|rep|gov|gen|col|lt|maj|capt|cmdr|sgt|cpl|adm|hon|pres|st|mt|ft|vol|pp|fig|"
    r"e\.g|i\.e|cf|vs|approx)\.",
    re.IGNORECASE,
)
_ABBREVIATIONS = re.compile(  # may stand at the end of a sentence, which shows only where a paragraph ends
    r"(?:jr|inc|corp|co|ltd|llc|bros|dept|ave|blvd|rd|etc|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|"
    r"thurs?|thu|fri|sat|sun|ph\.d|calif|conn)\.",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"nos?\.\s*\d", re.IGNORECASE)  # `No. 10`, and no end of `He said no.`


def cut(text: str, *, words: int, is_whole: bool) -> str | None:
    """Return the text up to the sentence's end that is nearest to `words` words, the earlier of two; None without one.

    Words are those of `length`. `is_whole` says whether the writer ended the text, or else it was broken off,
    perhaps after an abbreviation or within a number.
    """
    text = text.strip()
    found = ends(text, is_whole=is_whole)
    if not found:
        return None
    starts = word_starts(text)
    best = min(found, key=lambda end: (abs(bisect_left(starts, end) - words), end))
    return text[:best]


def ends(text: str, *, is_whole: bool) -> Sequence[int]:
    """List the places after which sentences end: those outside quotations, or all where there are no others."""
    found = list(_ends(text, is_whole=is_whole))
    return [end for end in found if not _is_quoted(text, end)] or found


def is_ended(text: str) -> bool:
    """Tell whether a text, not empty, ends where a sentence does."""
    text = text.strip()
    return len(text) in _ends(text, is_whole=True)


def _ends(text: str, *, is_whole: bool) -> Iterator[int]:
    for mark in _MARK.finditer(text):
        end = mark.end()
        is_last = not text[end:].strip()
        if not is_last and not _begins(text, end):
            continue
        if mark[0].startswith(".") and not mark[0].startswith("..") and not _is_stop(text, mark.start()):
            ends_paragraph = _PARAGRAPH.match(text, end) and (not is_last or is_whole)
            if not ends_paragraph or _never_ends(text, mark.start()):
                continue
        if is_last and not is_whole and _may_go_on(text, mark):
            continue
        yield end


def _begins(text: str, end: int) -> bool:
    """Whether what follows can begin a sentence."""
    following = _NEXT.match(text, end)
    return following is not None and not following[1].islower() and following[1] not in ",;:"


def _is_stop(text: str, place: int) -> bool:
    """Whether a full stop is one, and not part of an abbreviation, an initial or a list's number."""
    word = _word(text, place)
    return not _never_ends(text, place) and not _ABBREVIATIONS.fullmatch(word) and not _INITIAL.fullmatch(word)


def _never_ends(text: str, place: int) -> bool:
    word = _word(text, place)
    is_number = _NUMBER.match(text, place + 1 - len(word))
    return bool(_TITLES.fullmatch(word) or is_number or _LIST.search(text[max(0, place - LONGEST) : place + 1]))


def _word(text: str, place: int) -> str:
    """Return the word that a full stop ends, with it."""
    found = _LAST_WORD.search(text[max(0, place - LONGEST) : place + 1])
    return found[0] if found else "."


def _may_go_on(text: str, mark: re.Match[str]) -> bool:
    """Whether a text that was broken off here may have been about to go on: a number's point, a row of dots."""
    return mark[0] == "." and text[: mark.start()][-1:].isdigit()


def _is_quoted(text: str, end: int) -> bool:
    """Whether a quotation of the paragraph is still open, and goes on after this place."""
    if _PARAGRAPH.match(text, end):
        return False
    paragraph = text[text.rfind("\n", 0, end) + 1 : end]
    return paragraph.count('"') % 2 == 1 or paragraph.count("“") > paragraph.count("”")
