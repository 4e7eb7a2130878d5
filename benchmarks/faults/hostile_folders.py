"""Open folders that were made to do harm, and print what came of it, as the table of docs/reliability.md.

    python benchmarks/faults/hostile_folders.py            # a table by kind
    python benchmarks/faults/hostile_folders.py --cases    # every case with its message

Every case starts from a good folder, changes one thing, and opens it in a process of its own, which may take 512 MiB
more than it has and 30 seconds. Passed means: refused with one line (or opened, where the thing planted is a file that
is never looked at), and the code that was planted did not run. The tests run the same cases.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hostile_case import Case, proof_of
from hostile_models import model_cases
from hostile_states import state_cases

import electrify
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary, load_tokenizer
from electrify.errors import ElectrifyError
from electrify.models.checkpoint import load_model, save_model, saved_network
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForMaskedLM
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertForMaskedLM

EXTRA_BYTES = 512 << 20
SECONDS = 30
WORDS = [*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz"]
ELECTRA = ElectraConfig(
    vocab_size=len(WORDS), embedding_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=32,
)  # fmt: skip
MODERNBERT = ModernBertConfig(
    vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    pad_token_id=0, max_position_embeddings=32,
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    result: str
    """ "refused", "opened", or how it went wrong."""
    message: str
    seconds: float
    extra_mb: float
    ran_code: bool

    def passed(self, case: Case) -> bool:
        """Return whether this is as it should be."""
        is_one_line = "\n" not in self.message
        return self.result == ("opened" if case.opens else "refused") and is_one_line and not self.ran_code


def make_good_folders(place: Path) -> None:
    """Write `electra/` and `modernbert/`, two model folders, and `run/`, a run with one saved state."""
    torch.manual_seed(0)
    tokenizer = from_vocabulary(WORDS, is_cased=True)
    for name, network in (("electra", ElectraForMaskedLM(ELECTRA)), ("modernbert", ModernBertForMaskedLM(MODERNBERT))):
        save_model(network, place / name)
        tokenizer.save(place / name)
    (place / "tokenizer").mkdir()
    tokenizer.save(place / "tokenizer")
    (place / "text.txt").write_text("\n\n".join(["a b c d e f g h i j k l m n o p"] * 60))
    (place / "held-out.txt").write_text("\n\n".join(["q r s t u v w x y z"] * 10))
    electrify.prepare(
        [place / "text.txt"], tokenizer=place / "tokenizer", output=place / "shards", max_length=16, processes=1,
        validation=[place / "held-out.txt"],
    )  # fmt: skip
    sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24, "max_positions": 32}
    settings = {
        "data": {"path": str(place / "shards")},
        "model": {**sizes, "embedding_init": "normal"},
        "schedule": {"num_steps": 2},
        "training": {"batch_size": 4, "precision": "fp32"},
        "logging": {"tensorboard": False},
    }
    electrify.pretrain("tiny", output=place / "run", overrides=settings)


def open_folder(start: str, folder: Path) -> None:
    """Use a folder as the verbs do."""
    if start == "run":
        electrify.pretrain(folder / "config.toml", output=folder, resume=True)
        return
    load_model(folder, saved_network(folder))
    load_tokenizer(folder)


def cases() -> list[Case]:
    """Return all cases."""
    return [*model_cases(), *state_cases()]


def plant(case: Case, good: Path, place: Path) -> Path:
    """Return a copy of the case's good folder with the thing planted."""
    folder = place / "folder"
    shutil.copytree(good / case.start, folder)
    case.make(folder)
    return folder


def outcome(case: Case, good: Path) -> Outcome:
    """Run a case in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = plant(case, good, Path(place))
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_attempt, args=(case.start, folder, theirs))
        started = time.monotonic()
        process.start()
        theirs.close()
        process.join(SECONDS)
        seconds = time.monotonic() - started
        is_done = process.exitcode is not None
        if not is_done:
            process.kill()
            process.join()
        result, message, extra_mb = mine.recv() if is_done and mine.poll() else ("died", "", 0.0)
        return Outcome(result if is_done else "hung", message, seconds, extra_mb, proof_of(folder).exists())


def _attempt(start: str, folder: Path, answer: Any) -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - of a process that ends here
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + EXTRA_BYTES, size + EXTRA_BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        open_folder(start, folder)
        result, message = "opened", ""
    except ElectrifyError as problem:
        result, message = "refused", str(problem)
    except BaseException as problem:
        result, message = f"crashed: {type(problem).__name__}", str(problem)
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answer.send((result, message[:500], extra))


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", action="store_true", help="print every case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        good = Path(place)
        make_good_folders(good)
        for start in ("electra", "modernbert", "run"):
            sound = outcome(Case("", "", start, Path.exists, opens=True), good)
            assert sound.result == "opened", (start, sound)
        found = [(case, outcome(case, good)) for case in cases()]
    if arguments.cases:
        for case, result in found:
            mark = "ok " if result.passed(case) else "BAD"
            print(f"{mark} {case.kind}: {case.name}: {result.result} {result.message[:160]!r}")
    print("| planted | cases | passed | code ran | slowest, s | most memory, MB |")
    print("|---|---|---|---|---|---|")
    for kind in [*dict.fromkeys(case.kind for case, _ in found), "all"]:
        some = [(case, result) for case, result in found if kind in ("all", case.kind)]
        passed = sum(result.passed(case) for case, result in some)
        ran = sum(result.ran_code for _, result in some)
        slowest, most = max(result.seconds for _, result in some), max(result.extra_mb for _, result in some)
        print(f"| {kind} | {len(some)} | {passed} | {ran} | {slowest:.1f} | {most:.0f} |")
    sys.exit(any(not result.passed(case) for case, result in found))


if __name__ == "__main__":
    main()
