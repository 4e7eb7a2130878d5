"""One run on two hosts: a worker killed, a host lost, the link down for ten seconds.

    sudo python benchmarks/faults/hosts.py [worker] [host] [link]

The hosts are network namespaces joined by a pair of virtual Ethernet devices, each with an address, an agent of
torchrun and a worker of its own; needs root and `ip`. After a killed worker and after the link's return the result must
equal, bit for bit, that of two hosts that nothing disturbed. When a host is lost for good the other one finishes alone,
so sums have another order: its losses must agree to 1e-5, step by step. Exit code 1 if something does not.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import fingerprint, make_shards, settings
from forking import fork, wait

ADDRESSES = ("10.77.0.1", "10.77.0.2")
NAMES = ("electrify0", "electrify1")
FAULTS = ("worker", "host", "link")
LINK_DOWN_S = 10
OPTIONS: dict[str, Any] = {
    "schedule": {"num_steps": 150},
    "checkpoint": {"every_steps": 10},
    "logging": {"every_steps": 1, "tensorboard": False},
    "training": {"timeout_minutes": 1.0},
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def reason_to_skip() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if os.geteuid():
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "ip not installed (apt-get install iproute2)"
    tried = subprocess.run(["ip", "netns", "add", "electrify-try"], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces: {tried.stderr.strip()}"
    ip("netns", "del", "electrify-try")
    return ""


class Hosts:
    """Two network namespaces. A context manager; it ends every process in them."""

    def __enter__(self) -> "Hosts":
        self._remove()  # what a killed program left
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", "elveth0", "netns", NAMES[0], "type", "veth", "peer", "name", "elveth1", "netns", NAMES[1])
        for number, (name, address) in enumerate(zip(NAMES, ADDRESSES, strict=True)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"elveth{number}")
            ip("-n", name, "link", "set", f"elveth{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        for name in NAMES:
            if not Path("/run/netns", name).exists():
                continue
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name)

    def start(self, number: int, shards: Path, output: Path) -> "subprocess.Popen[bytes]":
        """Start the agent of a host, in a session of its own."""
        words = [
            f"--{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
            for section, values in settings(shards, **OPTIONS).items()
            for key, value in values.items()
        ]
        agent = ["-m", "torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3",
                 "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={ADDRESSES[number]}",
                 f"--rdzv-conf=is_host={1 - number},join_timeout=60,last_call_timeout=3"]  # fmt: skip
        environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                       "GLOO_SOCKET_IFNAME": f"elveth{number}"}  # fmt: skip
        command = ["ip", "netns", "exec", NAMES[number], sys.executable, *agent, "-m", "electrify", "pretrain", "tiny",
                   f"--output={output}", "--json", *words]  # fmt: skip
        with (output.parent / f"{output.name}-host{number}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **environment},
                start_new_session=True,
                stderr=log,
                stdout=subprocess.DEVNULL,
            )


def worker_of(agent: "subprocess.Popen[bytes]") -> int:
    """Process id of the worker below an agent."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            has_rank = b"\0RANK=" in b"\0" + (path / "environ").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == agent.pid and has_rank:
            return int(path.name)
    raise RuntimeError("no worker found")


def wait_for_state(output: Path, step: int) -> None:
    deadline = time.monotonic() + 90
    while not any(int(path.name[5:]) >= step for path in (output / "state").glob("step-????????")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{output}: never came to step {step}")
        time.sleep(0.01)


@dataclass(frozen=True)
class Round:
    """What became of a run."""

    codes: list[int]
    """Exit code of each host's agent."""
    seconds: float
    num_restarts: int
    """How often the first host's worker began again."""
    num_refusals: int
    """How many workers would not begin, with exit code 2: each costs one of the restarts that are allowed."""


def run(hosts: Hosts, shards: Path, output: Path, fault: str) -> Round:
    """Train on both hosts with one fault, or "none"."""
    started = time.monotonic()
    agents = [hosts.start(number, shards, output) for number in (0, 1)]
    if fault != "none":
        wait_for_state(output, 20)
    if fault == "worker":
        os.kill(worker_of(agents[1]), signal.SIGKILL)
    elif fault == "host":
        worker = worker_of(agents[1])
        os.killpg(agents[1].pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # torchrun starts its workers in sessions of their own
            os.kill(worker, signal.SIGKILL)
    elif fault == "link":
        ip("-n", NAMES[1], "link", "set", "elveth1", "down")
        time.sleep(LINK_DOWN_S)
        ip("-n", NAMES[1], "link", "set", "elveth1", "up")
    codes = [agent.wait(timeout=120) for agent in agents]
    said = [(output.parent / f"{output.name}-host{number}.log").read_text() for number in (0, 1)]
    num_refusals = sum(one.count("failed (exitcode: 2)") for one in said)
    return Round(codes, time.monotonic() - started, said[0].count("Continuing from step"), num_refusals)


def losses(output: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["gen_loss"], line["disc_loss"]) for line in lines if line["kind"] == "train"]


def difference(output: Path, undisturbed: Path) -> float:
    """Return the largest relative difference of two runs' losses; infinite if a step is missing or there twice."""
    mine, theirs = losses(output), losses(undisturbed)
    if [one[0] for one in mine] != [one[0] for one in theirs]:
        return float("inf")
    return max(abs(a / b - 1) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True))


def main() -> None:
    faults = sys.argv[1:] or FAULTS
    if reason := reason_to_skip():
        raise SystemExit(reason)
    all_good = True
    with tempfile.TemporaryDirectory() as name, Hosts() as hosts:
        folder = Path(name)
        wait(fork(lambda: make_shards(folder)))
        shards, undisturbed = folder / "shards", folder / "none"
        found = run(hosts, shards, undisturbed, "none")
        print(f"two hosts, nothing disturbed: exit {found.codes}, {found.seconds:.0f} s", flush=True)
        for fault in faults:
            found = run(hosts, shards, folder / fault, fault)
            is_equal = fingerprint(folder / fault) == fingerprint(undisturbed)
            verdict = f"equal bit for bit: {is_equal}"
            if fault == "host":
                worst = difference(folder / fault, undisturbed)
                is_equal, verdict = worst < 1e-5, f"every step once, losses differ by at most {worst:.1e}"
            all_good &= is_equal and found.codes[0] == found.num_refusals == 0
            began = f"began again {found.num_restarts} times"
            print(f"{fault}: exit {found.codes}, {found.seconds:.0f} s, {began}; {verdict}", flush=True)
    if not all_good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
