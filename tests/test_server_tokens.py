"""Where the tokens that a server echoes lie in a text."""

from __future__ import annotations

import pytest

from evalkit.models.server_tokens import Split, common, lay, split


@pytest.mark.parametrize(
    ("tokens", "text", "edge", "expected"),
    [
        (["The", " cat", " sat"], "The cat sat", 7, Split(2, boundary_merged=False)),
        (["The", " cat", " sat"], "The cat sat", 8, Split(2, boundary_merged=True)),
        (["<s>", "The", " cat"], "The cat", 3, Split(2, boundary_merged=False)),
        (["", "The", " cat"], "The cat", 3, Split(2, boundary_merged=False)),  # a start token decoded to nothing
        (["<s>", "The", "cat", "sat"], "The cat sat", 7, Split(3, boundary_merged=False)),  # SentencePiece, each alone
        (["<s>", " The", " cat"], "The cat", 3, Split(2, boundary_merged=False)),
        # What SentencePiece puts before a text may be a token of its own, which decodes to nothing.
        (["<s>", "", "1", "+", "1"], "1+1", 1, Split(3, boundary_merged=False)),
        (["<s>", "", "1", "+", "1"], "1+1", 0, Split(1, boundary_merged=False)),
        (["<s>", "", "\n", "\n", "Q"], "\n\nQ", 1, Split(3, boundary_merged=False)),
        (["<s>", "", "Q", ":", "", "W"], "Q: W", 2, Split(4, boundary_merged=False)),
        (["<s>", "", "", "", "x"], "  x", 1, Split(3, boundary_merged=False)),
        (["<s>", "", *["\ufffd"] * 2, "n", "", "\ufffd", "\ufffd"], "Ün é", 3, Split(6, boundary_merged=False)),
        (["<s>", "", *["\ufffd"] * 6], "日本", 1, Split(5, boundary_merged=False)),
        (["", "", "", "é"], "éé", 1, Split(3, boundary_merged=False)),  # though é fits at once
        (["a", "\ufffd", "\ufffd", "\ufffd", "b"], "a東b", 1, Split(1, boundary_merged=False)),
        (["a", "\ufffd", "\ufffd", "\ufffd", "b"], "a東b", 2, Split(4, boundary_merged=False)),
        (["a", "", "", "\ufffd", "b"], "a東b", 2, Split(4, boundary_merged=False)),
        (["\ufffd"] * 6, "東京", 1, Split(3, boundary_merged=False)),  # a byte each
        (["\ufffd"] * 4, "東京", 2, Split(4, boundary_merged=False)),
        (["\ufffd"] * 4, "東京", 1, None),  # which of the four end the first character?
        (["a"] + ["\ufffd"] * 4, "a東京", 1, Split(1, boundary_merged=False)),
    ],
)
def test_tokens_are_laid_along_the_text(tokens: list[str], text: str, edge: int, expected: Split | None) -> None:
    layout = lay(tokens, text)
    assert layout is not None
    assert split(layout, edge) == expected


@pytest.mark.parametrize(
    "tokens", [["The", " dog"], ["The"], [], ["The", " cat", " sat"], ["cat"], ["The", "", "cats"]]
)
def test_tokens_that_do_not_spell_the_text_are_seen(tokens: list[str]) -> None:
    assert lay(tokens, "The cat") is None


@pytest.mark.parametrize(
    ("context", "expected"),
    [(["a", "b"], Split(2, boundary_merged=False)), (["a", "x"], Split(1, boundary_merged=True))],
)
def test_a_context_alone_tells_where_a_stretch_is_split(context: list[str], expected: Split) -> None:
    assert common(["a", "b", "c"], context) == expected
