"""Put NaN, infinity and spikes into the gradients of runs, and look at what is trained and saved.

    python benchmarks/faults/bad_steps.py

For each kind of damage and each of `training.on_bad_step`: the run is interrupted by SIGKILL after the damage and
resumed; it must equal the one that was not interrupted, and no file may hold a number that is not finite.
"""

import os
import signal
import tempfile
from pathlib import Path

import torch
from common import fingerprint, make_shards, train
from forking import fork, wait
from safetensors.torch import load_file

from electrify.pretraining.step import StepResult, TrainingStep

NUM_STEPS = 200
BAD_STEPS = (150, 151, 170)
DAMAGES = {"NaN": float("nan"), "infinity": float("inf"), "a spike, 100 times the usual": 100.0}


def damage_steps(times: float, *, dies_at: int | None = None) -> None:
    """Multiply loss and gradients of the bad steps in this process; die at another."""
    compute = TrainingStep.compute

    def damaged(step: TrainingStep, number: int, *, with_figures: bool = False) -> StepResult:
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        result = compute(step, number, with_figures=with_figures)
        if number not in BAD_STEPS:
            return result
        for parameter in step._objective.parameters():
            assert parameter.grad is not None
            parameter.grad *= times
        sums = {name: value * times for name, value in result.sums.items()}
        return StepResult(sums, result.counts, result.num_tokens, result.grad_norm * times, result.figures)

    TrainingStep.compute = damaged  # type: ignore[method-assign]


def is_finite(folder: Path) -> bool:
    paths = list(folder.rglob("*.safetensors"))
    return all(bool(torch.isfinite(tensor).all()) for path in paths for tensor in load_file(path).values())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_shards(folder)
        for what, times in DAMAGES.items():
            for way in ("skip", "rollback", "stop"):
                training = {"on_bad_step": way, "spike_deviations": 6.0}
                schedule = {"num_steps": NUM_STEPS}

                def run(output: Path, dies_at: int | None = None) -> int:
                    def action() -> None:
                        damage_steps(times, dies_at=dies_at)  # noqa: B023 - forked at once
                        train(shards, output, training=training, schedule=schedule)  # noqa: B023

                    return wait(fork(action))

                straight, killed = folder / f"{way}-{what}", folder / f"{way}-{what}-killed"
                code = run(straight)
                if way == "stop":
                    print(f"{'passed' if code == 1 and is_finite(straight) else 'FAILED'}: {what}, stop: exit {code}")
                    continue
                codes = (run(killed, dies_at=171), run(killed))
                same = codes == (-9, 0) and code == 0 and fingerprint(straight) == fingerprint(killed)
                last = (straight / "metrics.jsonl").read_text().rpartition('"bad_steps": ')[2].split(",")
                counted = f"{last[0]} bad steps, {last[1].split(': ')[1]} steps skipped"
                finite = is_finite(straight) and is_finite(killed)
                print(
                    f"{'passed' if same and finite else 'FAILED'}: {what}, {way}: {counted}; resumed run equal: {same}"
                )


if __name__ == "__main__":
    main()
