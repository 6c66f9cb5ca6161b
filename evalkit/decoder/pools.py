"""All answers that grow together: by steps that stay in place where a device has them, else each launched anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evalkit.decoder.cache import KVCache
from evalkit.decoder.generation import Growing, Pool, Row
from evalkit.decoder.graphs import steps_of
from evalkit.decoder.model import Decoder
from evalkit.decoder.static_pool import StaticPool


class Pools:
    """Answers that grow together, all after one prefix."""

    def __init__(self, decoder: Decoder, *, name: str) -> None:
        """Begin with no answer; errors call the decoder `name`."""
        self._decoder = decoder
        self._name = name
        self._plain = Pool(decoder, name=name)
        steps = steps_of(decoder)
        self._static = None if steps is None else StaticPool(steps, name=name)

    @property
    def members(self) -> list[Growing]:
        """List the answers, and those that are whole and have not left."""
        return [*self._plain.members, *([] if self._static is None else self._static.members)]

    @property
    def growing(self) -> int:
        """Count the answers that are not whole."""
        return self._plain.growing + (0 if self._static is None else self._static.growing)

    @property
    def held(self) -> int:
        """Count the tokens that the answers have room for."""
        return self._plain.held + (0 if self._static is None else self._static.held)

    def admit(self, members: Sequence[Growing], cache: KVCache, hidden: Tensor) -> None:
        """Take in answers whose prompts lie in the rows of a cache (B), with the hidden states (B, d) of their ends.

        Beams change their rows at every step, so they grow the plain way, and so do answers beyond the memory.
        """
        if self._static is None or steps_of(self._decoder) is None:
            self._plain.admit(members, cache, hidden)
            return
        singles = [(row, member) for row, member in enumerate(members) if isinstance(member, Row)]
        rows = [row for row, _ in singles]
        if not singles or not self._static.admit([member for _, member in singles], cache, hidden, rows=rows):
            self._plain.admit(members, cache, hidden)
            return
        rest = [row for row, member in enumerate(members) if not isinstance(member, Row)]
        if rest:
            chosen = torch.tensor(rest, device=hidden.device)
            cache.select(chosen)
            self._plain.admit([members[row] for row in rest], cache, hidden[chosen])

    def step(self) -> list[Growing]:
        """Add a token to every answer; give those that are whole now. CheckpointError where logits are not finite."""
        done: list[Growing] = []
        for pool in (self._static, self._plain):
            if pool is not None and pool.growing:
                done += pool.step()
        return done

    def give_up(self) -> bool:
        """Forget all answers, and the memory that is kept for steps to come; say whether there was such."""
        self._plain = Pool(self._decoder, name=self._name)
        if self._static is not None:
            self._static.close()
        return self._decoder.steps is not None and self._decoder.steps.give_up()
