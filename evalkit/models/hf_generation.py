"""Generation by a model of transformers, with the decoder's own rows, sampling and beams."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evalkit.decoder import beam, finite
from evalkit.decoder.beam import Beams
from evalkit.decoder.generation import Growing, Row, begin
from evalkit.decoder.sampling import pick
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.models.hf_network import Network
from evalkit.records import Completion, Generate


def complete(
    network: Network, tokenizer: Tokenizer, prompts: Sequence[list[int]], requests: Sequence[Generate], *, window: int
) -> list[Completion]:
    """Generate all answers together, each in a row or as many as it has beams; a finished one leaves the batch.

    Raises CheckpointError where logits are not finite.
    """
    members = [
        begin(request, tokenizer, room=window - len(ids)) for ids, request in zip(prompts, requests, strict=True)
    ]
    active = [place for place, member in enumerate(members) if not member.is_done]
    longest = max((len(prompts[place]) + members[place].limit for place in active), default=0)
    growing = network.grow([prompts[place] for place in active], longest=longest) if active else None
    while growing is not None and active:
        largest = growing.logits.amax(dim=1)  # NaN where one of them is
        origins, tokens = step([members[place] for place in active], growing.logits)
        finite.check(largest.tolist(), name=network.name, dtype=network.dtype)
        active = [place for place in active if not members[place].is_done]
        if active:
            growing.extend(origins, tokens)
    return [member.completion() for member in members]


def step(members: Sequence[Growing], logits: Tensor) -> tuple[list[int], list[int]]:
    """Let each answer, whose rows follow each other in logits (N, V), take a token; give the rows that come next.

    They are given as the row that each one grew from, and its new token; finished answers have none.
    """
    rows: list[tuple[Row, int]] = []
    searches: list[tuple[Beams, int]] = []
    first = 0
    for member in members:
        if isinstance(member, Beams):
            searches.append((member, first))
        else:
            rows.append((member, first))
        first += member.rows
    grown: dict[int, list[tuple[int, int]]] = {}  # by the first row of an answer: origin and token of its next rows
    if rows:
        rules = [row.request.decoding for row, _ in rows]
        picked = pick(logits[[at for _, at in rows]], rules, [row.draw() for row, _ in rows]).tolist()
        for (row, at), token in zip(rows, picked, strict=True):
            row.push(token)
            grown[at] = [] if row.is_done else [(at, token)]
    for (search, at), origins in zip(searches, beam.advance(searches, logits), strict=True):
        live = zip(origins, search.live, strict=True)
        grown[at] = [] if search.is_done else [(at + origin, each.last) for origin, each in live]
    following = [pair for at in sorted(grown) for pair in grown[at]]
    return [origin for origin, _ in following], [token for _, token in following]
