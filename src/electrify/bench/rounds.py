"""Contenders in turn, A B A B, each in a process of its own; what they took, and how they compare.

A process of its own keeps what one side sets (allocator, threads, precision) from the others. Only one works at a time;
the others wait for a line on a pipe.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from electrify.bench.peers import Contender, Missing
from electrify.bench.worker_process import BenchError, WorkerProcess
from electrify.progress import bar


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of all rounds."""

    median: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender over all rounds."""

    name: str
    seconds: list[float]
    """Of each round."""
    rates: list[float]
    """Work done a second, by round."""
    rate: Spread
    ratio: Spread | None
    """The first contender's rate divided by this one's, round by round; None for the first itself."""
    peak_bytes: int
    """Most memory in use beyond what its libraries take."""
    threads: int
    result: Any
    """What its last unit returned."""
    inspection: Any
    """What it says about itself after the last round; None if it says nothing."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What all rounds came to."""

    measured: list[Measured]
    failed: list[Missing]

    def of(self, name: str) -> Measured:
        """Return the contender of this name."""
        return next(one for one in self.measured if one.name == name)


def spread(values: Sequence[float]) -> Spread:
    """Return the median of values with their lowest and highest."""
    return Spread(statistics.median(values), min(values), max(values))


def run_rounds(
    contenders: Sequence[Contender],
    work: dict[str, Any],
    *,
    rounds: int,
    units: int,
    size: Callable[[int], float],
    warmup: int = 1,
) -> Rounds:
    """Let contenders work in turn on the same units.

    Args:
        contenders: The first is what the others are compared with; it must work, the others may fail.
        work: Handed to each `build`.
        rounds: How often each has its turn.
        units: Units of work a turn.
        size: How much a unit counts, by its number, such as its real tokens.
        warmup: Units before the first round, which are not timed.

    Raises:
        BenchError: If the first contender fails.
    """
    sides = [_Side(contender, is_optional=number > 0) for number, contender in enumerate(contenders)]
    with ExitStack() as stack, bar("Measuring", total=float((rounds + 1) * len(sides))) as progress:
        for side in sides:
            progress.advance(text=f"{side.contender.name}: warm-up")
            side.start(stack, work, warmup)
            progress.advance(1)
        for number in range(rounds):
            for side in sides:
                progress.advance(text=f"round {number + 1} of {rounds}: {side.contender.name}")
                side.take_turn(warmup + number * units, units)
                progress.advance(1)
        for side in sides:
            side.inspect()
    amounts = [sum(size(warmup + number * units + unit) for unit in range(units)) for number in range(rounds)]
    ours = sides[0].rates(amounts)
    return Rounds(
        measured=[side.measured(amounts, ours=None if side is sides[0] else ours) for side in sides if side.is_in],
        failed=[Missing(side.contender.name, side.problem) for side in sides if side.problem is not None],
    )


@dataclass
class _Side:
    """A contender while it is measured."""

    contender: Contender
    is_optional: bool
    problem: str | None = None
    process: WorkerProcess | None = None
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    result: Any = None
    inspection: Any = None

    @property
    def is_in(self) -> bool:
        return self.problem is None

    def start(self, stack: ExitStack, work: dict[str, Any], warmup: int) -> None:
        with self._excuse():
            self.process = stack.enter_context(WorkerProcess(self.contender, work))
            if warmup:
                self.ask({"first": 0, "count": warmup})

    def take_turn(self, first: int, count: int) -> None:
        if not self.is_in:
            return
        with self._excuse():
            reply = self.ask({"first": first, "count": count})
            self.seconds.append(reply["seconds"])
            self.peak_bytes = reply["peak_bytes"]
            self.result = reply["result"]

    def inspect(self) -> None:
        if self.is_in:
            with self._excuse():
                self.inspection = self.ask({"inspect": True})["result"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process is not None
        return self.process.ask(request)

    def rates(self, amounts: Sequence[float]) -> list[float]:
        return [amount / seconds for amount, seconds in zip(amounts, self.seconds, strict=True)]

    def measured(self, amounts: Sequence[float], *, ours: list[float] | None) -> Measured:
        assert self.process is not None
        rates = self.rates(amounts)
        return Measured(
            name=self.contender.name,
            seconds=self.seconds,
            rates=rates,
            rate=spread(rates),
            ratio=None if ours is None else spread([a / b for a, b in zip(ours, rates, strict=True)]),
            peak_bytes=self.peak_bytes - self.process.baseline_bytes,
            threads=self.process.threads,
            result=self.result,
            inspection=self.inspection,
        )

    @contextmanager
    def _excuse(self) -> Iterator[None]:
        try:
            yield
        except BenchError as problem:
            if not self.is_optional:
                raise
            self.problem = str(problem).partition(": ")[2]
