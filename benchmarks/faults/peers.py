"""The same faults for electrify and for what people train with instead: who goes on, from where, and with what result.

    python benchmarks/faults/peers.py [electrify] [trainer] [accelerate] [fabric] [dcp] [composer] [--rounds 3]

Each trains a small network with dropout, saves every 4 steps as its documentation shows it, and is stopped after step
14; then something is done to its newest checkpoint, and it is started again in its documented way. Fabric and plain DCP
save what they are given, so torch's random state is given to them too. "Killed while saving" means that the kernel ends
the process in the middle of a file (SIGXFSZ at a limit of file size) while it saves step 12; it does so in the weights
and, where they are a larger file of their own, in the optimizer's means.

*Equal* means the weights of a run that nothing disturbed, bit for bit. Needs what it is asked about: `pip install
transformers accelerate lightning`. Composer needs an older torch, and so an environment of its own: `pip install
mosaicml safetensors` there, and nothing of electrify.
"""

import argparse
import hashlib
import importlib.util
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from forking import fork, wait
from peer_runs import NEEDS, PEERS, Peer, Plan, newest


def start(peer: Peer, plan: Plan) -> int:
    """Run in a process of its own; what it says goes into `said`, a digest of its weights into `digest`."""

    def action() -> None:
        said = os.open(plan.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        model = peer.run(plan)
        digest = hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in model.state_dict().values()))
        (plan.folder / "digest").write_text(digest.hexdigest())

    plan.folder.mkdir(parents=True, exist_ok=True)
    for name in ("digest", "resumed"):
        (plan.folder / name).unlink(missing_ok=True)
    return wait(fork(action))


def verdict(peer: Peer, folder: Path, expected: str, touched: str) -> str:
    """Start a run again and say what came of it."""
    if start(peer, Plan(folder)):
        lines = (folder / "said").read_text(errors="replace").strip().splitlines()
        return f"stops: {lines[-1].replace(str(folder), '…')[:90]}" if lines else "stops"
    resumed, is_equal = (folder / "resumed").read_text(), (folder / "digest").read_text() == expected
    is_named = bool(touched) and touched in (folder / "said").read_text(errors="replace")
    result = "equal" if is_equal else "other weights"
    return f"goes on from step {resumed}{', names the file' if is_named else ', says nothing'}: {result}"


def file_of(peer: Peer, folder: Path, name: str | None) -> Path | None:
    state = newest(folder, peer.states)
    assert state is not None
    return state if state.is_file() else (state / name if name else None)


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content) // 4, len(content) * 3 // 4)] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


def try_peer(name: str, folder: Path, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield faults with what came of them."""
    peer = PEERS[name]
    assert start(peer, Plan(folder / "whole")) == 0, (folder / "whole/said").read_text()
    expected = (folder / "whole/digest").read_text()
    assert start(peer, Plan(folder / "clean", stops=True)) == 0
    sizes = [path.stat().st_size for key in (peer.weights, peer.optimizer)
             if (path := file_of(peer, folder / "clean", key)) is not None]  # fmt: skip
    yield "stopped between two steps", verdict(peer, folder / "clean", expected, "")
    limits = {"killed in the file of the weights": sizes[0] // 2}
    if len(sizes) == 2 and sizes[1] > sizes[0] and peer.optimizer:
        limits["killed in the file of the optimizer"] = sum(sizes) // 2
    for fault, limit in limits.items():
        code = start(peer, Plan(folder / fault, limit_bytes=limit))
        assert code == -signal.SIGXFSZ, (fault, code, (folder / fault / "said").read_text()[-500:])
        yield fault, verdict(peer, folder / fault, expected, "")
    for fault, missing in (
        ("optimizer file deleted", peer.optimizer),
        ("random-state file deleted", peer.random_state),
    ):
        if missing is None:
            yield fault, "there is none"
            continue
        assert start(peer, Plan(folder / fault, stops=True)) == 0
        path = file_of(peer, folder / fault, missing)
        assert path is not None
        path.unlink()
        yield fault, verdict(peer, folder / fault, expected, missing)
    for number in range(rounds):
        place = folder / f"flip-{number}"
        assert start(peer, Plan(place, stops=True)) == 0
        path = file_of(peer, place, peer.weights)
        assert path is not None
        flip(path, random.Random(number))
        yield f"one bit of the weights flipped, {number + 1}", verdict(peer, place, expected, path.name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peers", nargs="*", default=list(PEERS), choices=[*PEERS, []])
    parser.add_argument("--rounds", type=int, default=3, help="bits flipped, one a round")
    arguments = parser.parse_args()
    for name in arguments.peers or PEERS:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            if name == "electrify":
                from common import make_shards

                make_shards(Path(folder))
            for fault, found in try_peer(name, Path(folder), arguments.rounds):
                print(f"{name:10}  {fault:38}  {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
