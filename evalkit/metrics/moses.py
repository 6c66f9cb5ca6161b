"""Text as XLM prepares it for multi-bleu.perl, which is how Brown 2020 scores translations (BLEU-mb, Appendix H).

XLM's get-data-nmt.sh pipes a line through scripts of Moses and of the Edinburgh WMT16 systems:
replace-unicode-punctuation.perl, normalize-punctuation.perl -l LANGUAGE, remove-non-printing-char.perl, for Romanian
normalise-romanian.py and remove-diacritics.py, and tokenizer.perl -l LANGUAGE -no-escape. sacremoses has the first two
and the tokenizer. What it lacks, and what stands here in its place:

- normalize-punctuation.perl turns the quotes ‘ and ‚ into a double one, not a single one, and treats quotes beside
  commas and full stops in every language but English and Czech as in German: both are put into its substitutions. It
  sees the end of the line as a character, so that a full stop before a last quote moves behind it: one is added.
- remove-non-printing-char.perl puts a space in place of a character that Unicode counts as other (Cc, Cf, Cn, Co, Cs),
  where sacremoses would leave nothing: `spaced`.
- The two scripts for Romanian are a table of letters.
- tokenizer.perl has split off the last full stop of a line in any case since 2018; sacremoses does not after an
  abbreviation: `tokenize`.

Two differences stay: sacremoses knows the letters of an older Unicode, and has none of tokenizer.perl's own rules for
the colon in Finnish and Swedish and for apostrophes in Catalan, Irish, Somali and Tetun.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

NORMALISED_AS_GERMAN = ("de", "es", "fr")  # in sacremoses; the script does so for all but these two:
NOT_AS_GERMAN = ("en", "cs", "cz")
# Cedillas to commas below, then letters without either: what normalise-romanian.py and remove-diacritics.py replace.
ROMANIAN = str.maketrans("ŞşŢţȘșȚțĂăÂâÎî", "SsTtSsTtAaAaIi")
LAST_FULL_STOP = re.compile(r"(?<=[^\s.])\.$")


def tokenize(text: str, *, language: str) -> str:
    """Prepare a sentence as XLM does; the tokens are divided by single spaces. `language` is a code such as `de`."""
    normalizer, tokenizer = _tools(language)
    # With pre_replace_unicode_punct it runs replace-unicode-punctuation.perl's substitutions first.
    text = spaced(normalizer.normalize(" ".join(text.split("\n")) + "\n"))
    if language == "ro":
        text = text.translate(ROMANIAN)
    tokens = str(tokenizer.tokenize(text, return_str=True, escape=False))
    return LAST_FULL_STOP.sub(" .", tokens)


def spaced(text: str) -> str:
    """Put a space in place of control characters, format characters and what is not a character."""
    return "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)


@cache
def _tools(language: str) -> tuple[MosesPunctNormalizer, MosesTokenizer]:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer = MosesPunctNormalizer(language, pre_replace_unicode_punct=True, perl_parity=True)
    rules = [(pattern, '"' if pattern in {"‘", "‚"} else new) for pattern, new in normalizer.substitutions]
    if language not in (*NORMALISED_AS_GERMAN, *NOT_AS_GERMAN):
        rules += normalizer.DE_ES_FR_QUOTATION_FOLLOWED_BY_COMMA
    normalizer.substitutions = rules
    return normalizer, MosesTokenizer(language)
