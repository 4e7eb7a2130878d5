"""Turns of contenders in processes of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from electrify.bench.peers import Contender
from electrify.bench.rounds import Rounds, run_rounds
from electrify.bench.worker_process import BenchError

SOURCE = """
import json, os, time

class Contender:
    def __init__(self, work):
        if work["variant"] == "unbuildable":
            raise ValueError("not here")
        self.work = work
        print("what a contender prints disturbs nothing")

    def __call__(self, number):
        with open(self.work["log"], "a") as log:
            log.write(json.dumps([self.work["variant"], number, os.getpid()]) + "\\n")
        if self.work["variant"] == "failing" and number > 1:
            raise RuntimeError("out of luck")
        if self.work["variant"] == "dying":
            os._exit(9)
        time.sleep(0.03 if self.work["variant"] == "slow" else 0.01)
        return number

    def inspect(self):
        return self.work["variant"]

def build_it(work):
    return Contender(work)
"""


def measure(tmp_path: Path, *variants: str, rounds: int = 3, units: int = 2) -> tuple[Rounds, list[Any]]:
    source, log = tmp_path / "peer.py", tmp_path / "log.jsonl"
    source.write_text(SOURCE, encoding="utf-8")
    contenders = [Contender(variant, str(source), "build_it", variant) for variant in variants]
    done = run_rounds(contenders, {"log": str(log)}, rounds=rounds, units=units, size=lambda number: 10.0 * number)
    return done, [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_turns_alternate_over_the_same_units_in_processes_of_their_own(tmp_path: Path) -> None:
    done, log = measure(tmp_path, "fast", "slow", rounds=2, units=2)
    assert [(name, number) for name, number, _ in log] == [
        ("fast", 0), ("slow", 0),  # the warm-up
        ("fast", 1), ("fast", 2), ("slow", 1), ("slow", 2),
        ("fast", 3), ("fast", 4), ("slow", 3), ("slow", 4),
    ]  # fmt: skip
    assert len({process for _, _, process in log}) == 2
    assert [one.result for one in done.measured] == [4, 4]
    assert [one.inspection for one in done.measured] == ["fast", "slow"]


def test_rates_and_ratios_are_by_round(tmp_path: Path) -> None:
    done, _ = measure(tmp_path, "fast", "slow")
    fast, slow = done.measured
    assert fast.ratio is None
    assert slow.ratio is not None
    assert fast.rates == pytest.approx(
        [10 * (1 + 2) / fast.seconds[0], 10 * (3 + 4) / fast.seconds[1], 110 / fast.seconds[2]]
    )
    ratios = [a / b for a, b in zip(fast.rates, slow.rates, strict=True)]
    assert slow.ratio.median == sorted(ratios)[1]
    assert slow.ratio.median == pytest.approx(3, rel=0.5)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("unbuildable", "ValueError: not here"), ("failing", "RuntimeError: out of luck"), ("dying", "ended with code 9")],
)
def test_a_peer_that_fails_is_out_and_the_others_go_on(tmp_path: Path, variant: str, reason: str) -> None:
    done, _ = measure(tmp_path, "fast", variant, "slow")
    assert [one.name for one in done.measured] == ["fast", "slow"]
    assert [(one.name, one.reason) for one in done.failed] == [(variant, reason)]


def test_nothing_can_be_compared_when_the_first_fails(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="unbuildable: ValueError: not here"):
        measure(tmp_path, "unbuildable", "fast")
