"""Decode steps in buffers that stay in place: on a GPU each is recorded once, as a CUDA graph, and then replayed.

A decode step launches hundreds of small kernels, and Python takes longer to launch them than a GPU to compute them.
What a step does is the same on every device: without a recording it is done anew each time.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from evalkit.decoder.cache import KVCache
from evalkit.decoder.device import reported_memory
from evalkit.decoder.model import Decoder
from evalkit.decoder.static_cache import LEAST_COLUMNS, Shape, StaticCache, doubled
from evalkit.errors import ModelMemoryError

Work: TypeAlias = Callable[[], None]
Record: TypeAlias = Callable[[Work], Work]
"""Takes work that was done before, and gives what does it again; RuntimeError where it cannot be recorded."""
Recorder: TypeAlias = Callable[[], Record]
"""Makes what records the steps of one store."""

UNRECORDED = 2  # steps of a kind before it is recorded, in which libraries make what a recording may not
CHECKED = 2  # replays that are compared with steps: the second finds numbers that were recorded as they were
MOST_RECORDED = 128  # recordings, of which each takes some megabytes of a device
STORE_SHARE = 0.4  # of a GPU's memory that keys and values of answers that grow may take
CLOSE = 0.05  # of the norm of a row's hidden state; half precision in another order is off by less
# Those that take a mask and do the same whatever it holds.
BACKENDS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Step:
    """A decode step of one shape, and what it reads and writes."""

    def __init__(self, decoder: Decoder, shape: Shape, *, store: Tensor) -> None:
        """Lay the cache into a store; `begin` before use."""
        config, device, dtype = decoder.config, store.device, store.dtype
        self.shape = shape
        self.cache = StaticCache(config, shape, store=store)
        self.hidden = torch.zeros(shape.rows, config.d_model, device=device, dtype=dtype)  # (B, d) of the last tokens
        self.tokens = torch.zeros(shape.rows, device=device, dtype=torch.long)  # (B,) that follow them
        self.largest = torch.zeros(shape.rows, device=device)  # (B,) logits; NaN where one of a row is
        self._decoder = decoder

    def begin(self, prefix: KVCache | None) -> None:
        """Empty all rows, which from now on follow a prefix."""
        self.cache.begin(prefix)
        self.hidden.zero_()

    def load(self, places: list[int], cache: KVCache, hidden: Tensor, *, rows: list[int]) -> None:
        """Put rows (n) of a cache, and of hidden states (B, d) of its last tokens, in the rows at these places."""
        self.cache.load(places, cache, rows=rows)
        chosen, taken = (torch.tensor(each, device=hidden.device) for each in (rows, places))
        self.hidden[taken] = hidden[chosen]

    def columns(self, tokens: int) -> int:
        """Say how many columns of dense layers are read where rows have at most so many own tokens."""
        return min(self.shape.capacity, doubled(tokens, least=LEAST_COLUMNS))

    def score(self) -> Tensor:
        """Compute the logits (B, V) of the next tokens."""
        logits = self._decoder.logits(self.hidden)
        self.largest.copy_(logits.amax(dim=1))
        return logits

    def choose(self) -> None:
        """Take the likeliest next tokens."""
        self.tokens.copy_(self.score().argmax(dim=1))

    def move(self, columns: int) -> None:
        """Compute the chosen tokens, of rows that have fewer own tokens than so many."""
        is_on_gpu = self.tokens.device.type == "cuda"
        with sdpa_kernel(BACKENDS) if is_on_gpu else nullcontext():
            self.cache.see(columns)
            self.hidden.copy_(self._decoder(self.tokens[:, None], cache=self.cache)[:, -1])
            self.cache.advance()

    def work(self, columns: int, *, is_greedy: bool) -> None:
        """Move on by the tokens that were chosen, or by the likeliest ones."""
        if is_greedy:
            self.choose()
        self.move(columns)

    def is_repeated_by(self, replay: Work, work: Work) -> bool:
        """Do work, and say whether a recording of it did the same; what stays is what the work itself made."""
        state = [self.hidden, self.tokens, self.cache.lengths]
        before = [each.clone() for each in state]
        with suppress(RuntimeError):
            replay()
        hidden, tokens, lengths = (each.clone() for each in state)
        for each, old in zip(state, before, strict=True):
            each.copy_(old)
        work()  # last, for keys and values that a bad recording put in their place are put there anew
        # Of two tokens that are as likely either may be chosen, which makes other numbers of that row alone.
        same = tokens == self.tokens
        found, wanted = (each[same].float().nan_to_num() for each in (hidden, self.hidden))
        if not torch.equal(lengths, self.cache.lengths) or 2 * len(found) < len(same):
            return False
        return bool(((found - wanted).norm(dim=1) <= CLOSE * wanted.norm(dim=1)).all())


class Steps:
    """The steps of one decoder: a store that all shapes share, one at a time, and what was recorded."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        recorder: Recorder | None = None,
        most: int | None = None,
        most_recorded: int = MOST_RECORDED,
    ) -> None:
        """Hold at most `most` numbers of keys and values; without a recorder no step is recorded."""
        self._decoder = decoder
        self._most_recorded = most_recorded
        self._recorder = recorder
        self._record: Record | None = None
        self._most = most
        self._store: Tensor | None = None
        self._steps: dict[Shape, Step] = {}
        self._replays: dict[tuple[Shape, int, bool], Work] = {}  # what was replayed last comes last
        self._done: Counter[tuple[Shape, int, bool]] = Counter()
        self._user: weakref.ref[object] | None = None  # whose rows lie in the store
        self.refusal: str | None = None  # why no step is recorded, where one could not be

    @property
    def recorded(self) -> int:
        """Count the recordings."""
        return len(self._replays)

    @property
    def is_usable(self) -> bool:
        """Whether answers should grow by these steps: not after a recording has failed."""
        return self.refusal is None

    def take(self, shape: Shape, user: object) -> Step | None:
        """Give the step of a shape to its only user; None where another one has it or the memory does not suffice."""
        holder = None if self._user is None else self._user()
        if holder not in (None, user):
            return None
        if shape not in self._steps:
            numbers = shape.numbers(self._decoder.config)
            if (self._store is None or self._store.numel() < numbers) and not self._make_store(numbers, holder):
                return None
            assert self._store is not None
            self._steps[shape] = Step(self._decoder, shape, store=self._store)
        self._user = weakref.ref(user)
        return self._steps[shape]

    def leave(self, user: object) -> None:
        """Let others use the store; where none will, its memory is given back."""
        if self._user is not None and self._user() is user:
            self._user = None
            if not self.is_usable:
                self._forget()

    def give_up(self) -> bool:
        """Forget the store because the memory does not suffice, and never make one as large; say if there was one."""
        if self._store is None:
            return False
        self._most = self._store.numel() // 2
        self._forget()
        return True

    def _forget(self) -> None:
        """Forget the store and all that was recorded with it; who uses it now may go on."""
        self._wait()
        self._store, self._user, self._record = None, None, None
        self._steps, self._replays, self._done = {}, {}, Counter()

    def _wait(self) -> None:
        """Wait for the device, before recordings that it may be replaying are taken away."""
        if self._store is not None and self._store.device.type == "cuda":
            torch.cuda.synchronize(self._store.device)

    def run(self, step: Step, *, columns: int, is_greedy: bool) -> None:
        """Do a step's work: by its recording, which is made once the step was done some times."""
        kind = step.shape, columns, is_greedy
        work = partial(step.work, columns, is_greedy=is_greedy)
        if self._steps.get(step.shape) is not step:  # its store was given up
            work()
            return
        self._done[kind] += 1
        replay = self._replays.pop(kind, None)
        if replay is None and self._done[kind] > UNRECORDED:
            replay = self._recorded(work)
        if replay is None:
            work()
            return
        self._replays[kind] = replay
        if self._done[kind] > UNRECORDED + CHECKED:
            replay()
        elif not step.is_repeated_by(replay, work):
            self.refusal = "a recorded step gave other numbers"
            self._replays = {}

    def _recorded(self, work: Work) -> Work | None:
        """Record work, which is not done by that; None where nothing is recorded, or no longer."""
        if self._record is None or not self.is_usable:
            return None
        while len(self._replays) >= self._most_recorded:
            self._wait()
            oldest = next(iter(self._replays))
            del self._replays[oldest], self._done[oldest]
        try:
            return self._record(work)
        except RuntimeError as error:
            cause = first_cause(error)
            self._record = None
            if not isinstance(cause, torch.OutOfMemoryError):  # another store may leave more memory
                self.refusal = (str(cause).splitlines() or [type(cause).__name__])[0]
            return None

    def _make_store(self, numbers: int, holder: object | None) -> bool:
        if self._most is not None and numbers > self._most:
            return False
        if holder is None:  # nobody has rows in it
            self._forget()
        tokens = self._decoder.tokens
        try:
            with reported_memory():
                store = torch.zeros(numbers, device=tokens.device, dtype=tokens.dtype)
        except ModelMemoryError:
            self._most = numbers - 1
            return False
        self._forget()
        self._store = store
        self._record = None if self._recorder is None else self._recorder()
        return True


def first_cause(error: BaseException) -> BaseException:
    """Give the error that others followed: one in a recording makes its end fail as well."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return error


def steps_of(decoder: Decoder) -> Steps | None:
    """Give the steps by which a decoder's answers grow; None where each of them is launched anew, as on a CPU.

    The one place where this is decided: on CUDA devices, until a step could not be recorded.
    """
    device = decoder.tokens.device
    if decoder.steps is None and device.type == "cuda":
        most = int(STORE_SHARE * torch.cuda.mem_get_info(device)[1]) // decoder.tokens.dtype.itemsize
        decoder.steps = Steps(decoder, recorder=partial(recorder, device), most=most)
    return decoder.steps if decoder.steps is not None and decoder.steps.is_usable else None


def recorder(device: torch.device) -> Record:
    """Give what records work on a CUDA device; all recordings share their memory, for they are replayed in turn."""
    memory = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own

    def record(work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), uncollected():
            before = torch.cuda.current_stream(device)
            # One a thread, which a recording may not make.
            torch.cuda.current_blas_handle()  # type: ignore[no-untyped-call]  # torch's own
            try:
                with torch.cuda.graph(graph, pool=memory, stream=stream, capture_error_mode="thread_local"):
                    work()
            except RuntimeError:
                clear_away(device, memory)
                raise
            finally:
                torch.cuda.set_stream(before)  # which a recording that fails may leave undone
        return graph.replay

    return record


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile: there may be recordings in it, which must not be freed during another one."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def clear_away(device: torch.device, memory: tuple[int, int]) -> None:
    """Undo what torch leaves where a recording could not be ended: a pool being filled, a generator that records."""
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(RuntimeError, AttributeError, TypeError):  # the pool was ended, or torch calls it otherwise
        torch._C._cuda_endAllocateToPool(index, memory)
        torch._C._cuda_releasePool(index, memory)
    with suppress(RuntimeError, AttributeError):
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())
