"""Provenance as HTML: the command that makes each run again, its settings, and its signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.report.content import Provenance
from evalkit.report.page.markup import text


def render(origins: Sequence[Provenance]) -> Iterator[str]:
    """Write a block for each run or scan."""
    for origin in origins:
        yield f'<article class="origin"><h3><code>{text(origin.name)}</code></h3>\n'
        yield f'<div class="command"><pre tabindex="0"><code>{text(origin.command)}</code></pre></div>\n<dl>'
        for key, value in origin.settings.items():
            yield f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>\n"
        yield "</dl>\n"
        if origin.signatures:
            lines = "".join(f"<li><code>{text(line)}</code></li>" for line in origin.signatures)
            yield f'<h4>Signatures</h4>\n<ul class="signatures">{lines}</ul>\n'
        yield "</article>\n"
