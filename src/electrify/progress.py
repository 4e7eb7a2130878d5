"""Progress of long work: how far, how fast, how long still.

Silent until `enable` is called, which only the command line does; a library user sees nothing. On a terminal one live
line, elsewhere (a log file) a plain line every ten seconds. Nothing is shown for work of under two seconds.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_SHOW_AFTER_S = 2.0
_REDRAW_S = 0.25
_LOG_EVERY_S = 10.0
_WIDTH = 118

_is_enabled = False


def enable() -> None:
    """Show progress on standard error from now on."""
    global _is_enabled
    _is_enabled = True


def is_enabled() -> bool:
    """Return whether progress is shown, for processes that this one starts."""
    return _is_enabled


def format_seconds(seconds: float) -> str:
    """Return a duration as `42 s`, `3:07` or `2:05:09`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bar:
    """One running piece of work. Made by `bar`."""

    def __init__(self, label: str, *, total: float | None, is_shown: bool) -> None:
        self._label = label
        self._total = total
        self.done = 0.0
        self._counts: Counter[str] = Counter()
        self._text = ""
        self._seconds_left: float | None = None
        self._started = time.monotonic()
        self._shown = 0.0
        self._is_shown = is_shown
        self._is_live = sys.stderr.isatty()

    def advance(
        self, amount: float = 0.0, *, text: str | None = None, seconds_left: float | None = None, **counts: float
    ) -> None:
        """Say that work was done.

        Args:
            amount: How much of `total` was done since the last call, in the unit of `total`.
            text: Shown behind the figures until replaced.
            seconds_left: How long the rest takes, where the caller knows better than the share done tells.
            **counts: Things done since the last call, shown as a rate: `documents=1` as documents/s.
        """
        self.done += amount
        self._counts.update(counts)
        if text is not None:
            self._text = text
        self._seconds_left = seconds_left
        now = time.monotonic()
        interval = _REDRAW_S if self._is_live else _LOG_EVERY_S
        if self._is_shown and now - self._started > _SHOW_AFTER_S and now - self._shown > interval:
            self._shown = now
            self._draw(now - self._started)

    def close(self) -> None:
        """Draw the last state, if anything was drawn before."""
        if self._shown:
            self._draw(time.monotonic() - self._started, is_last=True)

    def _draw(self, elapsed: float, *, is_last: bool = False) -> None:
        parts = [self._label]
        if self._total:
            share = min(1.0, self.done / self._total)
            parts.append(f"{share:4.0%}")
        parts += [f"{count / elapsed:,.4g} {name}/s" for name, count in self._counts.items()]
        if self._text:
            parts.append(self._text)
        if is_last:
            parts.append(f"done in {format_seconds(elapsed)}")
        elif self._total and self.done:
            left = self._seconds_left
            by_share = elapsed * max(0.0, self._total / self.done - 1)
            parts.append(f"{format_seconds(by_share if left is None else left)} left")
        line = "  ".join(parts)
        if self._is_live:
            sys.stderr.write(f"\r{line[:_WIDTH]:<{_WIDTH}}" + ("\n" if is_last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextmanager
def bar(label: str, *, total: float | None = None) -> Iterator[Bar]:
    """Report the progress of the block.

    Args:
        label: What is being done, as in "Reading".
        total: The whole amount, in any unit; None when it is not known (no share and no time left are shown).
    """
    running = Bar(label, total=total, is_shown=_is_enabled)
    try:
        yield running
    finally:
        running.close()
