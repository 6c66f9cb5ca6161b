"""Text as HTML: markup escaped, and what would be invisible or turn other text round written out."""

from __future__ import annotations

import re
from html import escape

# C0 and C1 controls but tab and line feed, soft hyphens, marks of direction, spaces without width, line separators,
# marks of annotations, tags, and halves of surrogate pairs. samples.js has the same set.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
MOST_SHOWN = 4_000  # characters of a text that is in the page as HTML


def text(value: str) -> str:
    r"""Escape a text; a hidden character becomes a marked escape, such as `\u202e`."""
    return HIDDEN.sub(lambda found: f'<span class="control">{written(found[0])}</span>', escape(value))


def plain(value: str) -> str:
    """Escape a text for an attribute or the title, where nothing can be marked."""
    return HIDDEN.sub(lambda found: written(found[0]), escape(value))


def cut(value: str, *, most: int = MOST_SHOWN) -> str:
    """Escape a text, cut where it has more than `most` characters, which is told."""
    left_out = len(value) - most
    more = f'<span class="soft"> … {left_out:,} more characters</span>' if left_out > 0 else ""
    return text(value[:most]) + more


def preformatted(value: str) -> str:
    """Write a text with its line breaks, cut where it is very long."""
    # A browser drops a line break right after <pre>; this one is dropped in its place.
    return f"<pre>\n{cut(value)}</pre>"


def written(character: str) -> str:
    r"""Write a character as an escape, such as `\x1b`."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
