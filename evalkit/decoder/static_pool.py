"""Generation by steps in buffers that stay in place: rows are taken by answers, left, and taken again.

The host runs one step ahead: while the device computes a step, the tokens of the one before it are turned into text.
An answer that ends therefore grows by a token that nobody reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.decoder import finite
from evalkit.decoder.cache import KVCache
from evalkit.decoder.generation import Growing, Row
from evalkit.decoder.graphs import Step, Steps
from evalkit.decoder.sampling import is_greedy, pick
from evalkit.decoder.static_cache import rounded, shape_for
from evalkit.records import Decoding

LEAST_STEPS = 32  # that remain, for which rows are laid closer together
GREEDY = Decoding()  # the rule of a row that nobody has


class Seat:
    """A row and the answer that grows in it."""

    def __init__(self, member: Row, *, length: int) -> None:
        """Take a row that holds `length` own tokens."""
        self.member = member
        self.length = length  # own tokens, those of steps that are under way counted
        self.room = length + member.limit
        self.left = member.limit  # tokens that no step was begun for

    @property
    def is_growing(self) -> bool:
        """Whether the next step is for this answer, as far as is known."""
        return not self.member.is_done and self.left > 0


@dataclass(frozen=True, slots=True)
class Flight:
    """A step that the device was given, and whose tokens nobody has looked at."""

    tokens: Tensor  # (B,), on the host once the event has come
    largest: Tensor  # (B,)
    event: torch.cuda.Event | None
    seats: list[tuple[int, Seat]]  # those that it is for, with their places


class StaticPool:
    """Answers that grow together in one step's rows, all after one prefix."""

    def __init__(self, steps: Steps, *, name: str) -> None:
        """Begin with no answer; errors call the decoder `name`."""
        self._steps = steps
        self._name = name
        self._step: Step | None = None
        self._prefix: KVCache | None = None
        self._seats: list[Seat | None] = []  # by place
        self._flights: deque[Flight] = deque()

    @property
    def members(self) -> list[Growing]:
        """List the answers that have rows."""
        return [seat.member for seat in self._seats if seat is not None]

    @property
    def growing(self) -> int:
        """Count the answers that are not whole."""
        return sum(seat is not None and not seat.member.is_done for seat in self._seats)

    @property
    def held(self) -> int:
        """Count the tokens that the rows have room for."""
        return 0 if self._step is None else self._step.shape.rows * self._step.shape.capacity

    def admit(self, members: Sequence[Row], cache: KVCache, hidden: Tensor, *, rows: Sequence[int]) -> bool:
        """Take in answers whose prompts lie in these rows of a cache, with the hidden states (B, d) of their ends.

        Say whether there was room; where there was not, nothing has changed.
        """
        lengths = cache.lengths.tolist()
        seats = [Seat(member, length=lengths[row]) for member, row in zip(members, rows, strict=True)]
        live = self._live()
        capacity = max(seat.room for seat in [*live.values(), *seats])
        is_there = self._step is not None and self._prefix is cache.prefix
        if is_there and self._step is not None and capacity <= self._step.shape.capacity:
            free = [place for place in range(len(self._seats)) if place not in live]
        else:
            free = []
        if len(free) < len(seats):
            if not self._lay(live, rows=len(live) + len(seats), capacity=capacity, prefix=cache.prefix):
                return False
            free = [place for place, seat in enumerate(self._seats) if seat is None]
        assert self._step is not None
        places = free[: len(seats)]
        self._step.load(places, cache, hidden, rows=list(rows))
        for place, seat in zip(places, seats, strict=True):
            self._seats[place] = seat
        return True

    def step(self) -> list[Growing]:
        """Add a token to every answer; give those that are whole now. CheckpointError where logits are not finite."""
        if not self._flights:
            self._launch()
        if any(seat is not None and seat.is_growing for seat in self._seats):
            self._launch()
        flight = self._flights.popleft()
        if flight.event is not None:
            flight.event.synchronize()
        seats = [(place, seat.member) for place, seat in flight.seats if not seat.member.is_done]
        largest, tokens = flight.largest.tolist(), flight.tokens.tolist()
        finite.check((largest[place] for place, _ in seats), name=self._name, dtype=self._dtype)
        for place, member in seats:
            member.push(tokens[place])
        done: list[Growing] = [member for _, member in seats if member.is_done]
        if done:
            self._tidy()
        return done

    def close(self) -> None:
        """Let go of all answers and of the rows."""
        self._step, self._prefix, self._seats = None, None, []
        self._flights.clear()
        self._steps.leave(self)

    @property
    def _dtype(self) -> torch.dtype:
        assert self._step is not None
        return self._step.hidden.dtype

    def _live(self) -> dict[int, Seat]:
        """Give the seats of answers that are not whole, by place."""
        return {place: seat for place, seat in enumerate(self._seats) if seat is not None and not seat.member.is_done}

    def _tidy(self) -> None:
        """Lay the rows closer together where half of them or more do nothing, and many steps remain."""
        live = self._live()
        if not live:
            self.close()
            return
        steps = max(seat.left for seat in live.values())
        if 2 * rounded(len(live), least=1) <= len(self._seats) and steps >= LEAST_STEPS:
            self._lay(live, rows=len(live), capacity=max(seat.room for seat in live.values()), prefix=self._prefix)

    def _lay(self, live: dict[int, Seat], *, rows: int, capacity: int, prefix: KVCache | None) -> bool:
        """Move the seats that are live to the first places of a step with room for so much, if there is one."""
        tokens = 0 if prefix is None else prefix.longest
        step = self._steps.take(shape_for(rows=rows, capacity=capacity, prefix=tokens), self)
        if step is None:
            return False
        moved = None
        if live and self._step is not None:
            # Copied before the step begins, which may lie in the same store.
            cache = self._step.cache.export(list(live), [seat.length for seat in live.values()], prefix=self._prefix)
            moved = cache, self._step.hidden[torch.tensor(list(live), device=self._step.hidden.device)]
        step.begin(prefix)
        if moved is not None:
            step.load(list(range(len(live))), *moved, rows=list(range(len(live))))
        self._step, self._prefix = step, prefix
        self._seats = [*live.values(), *[None] * (step.shape.rows - len(live))]
        return True

    def _launch(self) -> None:
        """Give the device the next step."""
        step = self._step
        assert step is not None
        seats = [(place, seat) for place, seat in enumerate(self._seats) if seat is not None and seat.is_growing]
        rules = [GREEDY] * len(self._seats)
        for place, seat in seats:
            rules[place] = seat.member.request.decoding
        is_last = all(seat.left == 1 for _, seat in seats)  # what follows the chosen tokens is asked by none
        all_greedy = all(map(is_greedy, rules))
        if not all_greedy:
            uniforms = [0.0] * len(self._seats)
            for place, seat in seats:
                uniforms[place] = seat.member.draw()
            step.tokens.copy_(pick(step.score(), rules, uniforms))
        elif is_last:
            step.choose()
        if not is_last:
            columns = step.columns(1 + max(seat.length for _, seat in seats))
            self._steps.run(step, columns=columns, is_greedy=all_greedy)
        tokens, largest = (each.to("cpu", non_blocking=True, copy=True) for each in (step.tokens, step.largest))
        event = None
        if step.tokens.device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
            event.record(torch.cuda.current_stream(step.tokens.device))
        for _, seat in seats:
            seat.left -= 1
            seat.length += 1
        self._flights.append(Flight(tokens, largest, event, seats))
