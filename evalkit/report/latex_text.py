"""Any text as LaTeX that prints it, with pdflatex and with lualatex, whatever it holds."""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    # A line of a tabular that begins with [ would be read as the length of the line break before it, and one with *
    # as the starred form of that line break.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
NAMED = {  # beyond ASCII
    "–": "--",
    "—": "---",
    "‐": "-",
    "‑": "-",
    "−": "$-$",
    "‘": "{\\textquoteleft}",
    "’": "{\\textquoteright}",
    "“": "{\\textquotedblleft}",
    "”": "{\\textquotedblright}",
    "…": r"\textellipsis{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\textsection{}",
    "¶": r"\textparagraph{}",
    "•": r"\textbullet{}",
    "·": r"\textperiodcentered{}",
    "°": r"\textdegree{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "€": r"\texteuro{}",
    "£": r"\textsterling{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "∞": r"$\infty$",
    "µ": r"$\mu$",
    "²": r"$^2$",
    "³": r"$^3$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "¿": r"\textquestiondown{}",
    "¡": r"\textexclamdown{}",
}
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        (
            *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
            *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
            *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
        ),
        strict=True,
    )
)
ACCENTS = {  # of Unicode's combining marks
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
}
BELOW = ("\u0323", "\u0327")
BREAKS = re.compile(r"(?<=[/|,:=_&@+-])(?=[^\s])")  # where a long word may go on in the next line
LONGEST = 24  # letters in a row that TeX would not find a place to break in


def escape(text: str) -> str:
    """Write text that prints as itself; control characters and line breaks become spaces.

    What neither engine has in its usual fonts, Chinese for one, prints as its code, `U+4E2D`.
    """
    visible = "".join(" " if unicodedata.category(character) in {"Cc", "Cf", "Cs"} else character for character in text)
    # In TeX's fonts -- is a dash, and ,, and '' are quotation marks.
    plain = re.sub(r"([-,'])(?=\1)", "\\1\0", " ".join(visible.split()))
    return "".join("{}" if character == "\0" else _character(character) for character in plain)


def breakable(text: str) -> str:
    """Escape text with places to break long words, such as signatures and paths."""
    words = [_pieces(word) if len(word) > LONGEST else [word] for word in text.split()]
    return " ".join(r"\allowbreak{}".join(escape(piece) for piece in word) for word in words)


def lines(text: str, width: int) -> list[str]:
    """Fill lines of at most `width` characters, which are still to be escaped; longer words are broken."""
    filled = [""]
    for word in text.split():
        pieces = _pieces(word, longest=width) if len(word) > width else [word]
        for number, piece in enumerate(pieces):
            space = "" if number or not filled[-1] else " "
            if len(filled[-1]) + len(space) + len(piece) <= width:
                filled[-1] += space + piece
            else:
                filled.append(piece)
    return [line for line in filled if line] or [""]


def _pieces(word: str, *, longest: int = LONGEST) -> list[str]:
    """Take a word apart behind its punctuation, and where it has none."""
    return [part[at : at + longest] for part in BREAKS.split(word) for at in range(0, len(part), longest)]


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character
    if character in NAMED:
        return NAMED[character]
    if character in GREEK:
        return f"$\\{GREEK[character]}$"
    parts = unicodedata.normalize("NFD", character)
    base, mark = parts[0], parts[1:]
    if mark in ACCENTS and base.isascii() and base.isalpha():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base) if mark not in BELOW else base
        return f"\\{ACCENTS[mark]}{{{dotless}}}"
    return f"\\texttt{{U+{ord(character):04X}}}\\allowbreak{{}}"
