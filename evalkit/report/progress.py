"""How far a piece of work is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from evalkit.interfaces import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay:
    """An OnProgress that shows what it is told on a stream; use it in a with statement."""

    def __init__(self, stream: TextIO, *, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.last: Progress | None = None
        self._stream = stream
        self._unit = unit
        self._clock = clock
        self._started: tuple[str, float, int] | None = None  # what, when, and what was done by then
        self._shown = 0.0
        self._bars: Bars | None = _bars(stream) if stream.isatty() else None
        self._bar: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        """Show progress; the rate leaves out what was done before the first report."""
        now = self._clock()
        self.last = progress
        is_new = self._started is None or self._started[0] != progress.what
        if self._started is None or is_new:
            self._started = (progress.what, now, progress.done)
        _, since, before = self._started
        speed = pace(progress.done - before, progress.total - progress.done, now - since, unit=self._unit)
        text = ", ".join(part for part in (progress.detail, speed) if part)
        if self._bars is not None:
            self._draw(self._bars, progress, text, is_new=is_new)
        elif is_new or now - self._shown >= SECONDS_BETWEEN_LINES or progress.done == progress.total:
            self._shown = now
            print_line = f"{progress.what}: {progress.done:,} of {progress.total:,} {self._unit}{text and ', '}{text}\n"
            self._stream.write(print_line)
            self._stream.flush()

    def _draw(self, bars: Bars, progress: Progress, text: str, *, is_new: bool) -> None:
        if is_new or self._bar is None:
            if self._bar is not None:
                bars.remove_task(self._bar)
            self._bar = bars.add_task(progress.what, total=progress.total, pace="")
        bars.update(self._bar, completed=progress.done, pace=text)


def pace(done: int, left: int, seconds: float, *, unit: str) -> str:
    """Write rate and time left, `312 examples/s, 1:04 left`; nothing where there is no rate yet."""
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    if left <= 0:
        return f"{rate:,.1f} {unit}/s"
    minutes, rest = divmod(round(left / rate), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{rate:,.1f} {unit}/s, {clock} left"


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(file=stream),
        transient=True,
    )
