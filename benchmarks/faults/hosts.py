"""One run on two hosts: a worker killed, a host lost, the link down for ten seconds.

    sudo python benchmarks/faults/hosts.py [worker] [host] [link]

The hosts are network namespaces joined by a pair of virtual Ethernet devices, each with an address, an agent of
torchrun and a worker of its own; needs root and `ip`. After a killed worker and after the link's return the result must
equal, bit for bit, that of two hosts that nothing disturbed. When a host is lost for good the other one finishes alone,
so sums have another order: its losses must agree to 1e-5, step by step.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import fingerprint, fork, make_shards, settings, wait

ADDRESSES = ("10.77.0.1", "10.77.0.2")
RENDEZVOUS = "join_timeout=60,last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3"
OPTIONS: dict[str, Any] = {
    "schedule": {"num_steps": 300},
    "checkpoint": {"every_steps": 10},
    "logging": {"every_steps": 1, "tensorboard": False},
    "training": {"timeout_minutes": 1.0},
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Hosts:
    """Two network namespaces. A context manager."""

    def __enter__(self) -> "Hosts":
        for number in (0, 1):
            ip("netns", "add", f"electrify{number}")
        ip("link", "add", "elveth0", "netns", "electrify0", "type", "veth", "peer", "name", "elveth1", "netns",
           "electrify1")  # fmt: skip
        for number, address in enumerate(ADDRESSES):
            inside = ("-n", f"electrify{number}")
            ip(*inside, "addr", "add", f"{address}/24", "dev", f"elveth{number}")
            ip(*inside, "link", "set", f"elveth{number}", "up")
            ip(*inside, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for number in (0, 1):
            ip("netns", "del", f"electrify{number}")

    def start(self, number: int, shards: Path, output: Path) -> "subprocess.Popen[bytes]":
        """Start the agent of a host, in a session of its own."""
        words = [
            f"--{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
            for section, values in settings(shards, **OPTIONS).items()
            for key, value in values.items()
        ]
        agent = ["-m", "torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3",
                 "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={ADDRESSES[number]}",
                 f"--rdzv-conf=is_host={1 - number},{RENDEZVOUS}"]  # fmt: skip
        environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                       "GLOO_SOCKET_IFNAME": f"elveth{number}"}  # fmt: skip
        log = (output.parent / f"{output.name}-host{number}.log").open("wb")
        return subprocess.Popen(
            ["ip", "netns", "exec", f"electrify{number}", sys.executable, *agent, "-m", "electrify", "pretrain", "tiny",
             f"--output={output}", "--json", *words],
            env={**os.environ, **environment}, start_new_session=True, stderr=log, stdout=subprocess.DEVNULL,
        )  # fmt: skip


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
    raise SystemExit("no worker found")


def wait_for_state(output: Path, step: int) -> None:
    deadline = time.monotonic() + 90
    while not any(int(path.name[5:]) >= step for path in (output / "state").glob("step-????????")):
        if time.monotonic() > deadline:
            raise SystemExit(f"{output}: never came to step {step}")
        time.sleep(0.01)


def run(hosts: Hosts, shards: Path, output: Path, fault: str) -> tuple[list[int], float]:
    """Train on both hosts with one fault; returns the agents' exit codes and the seconds."""
    started = time.monotonic()
    agents = [hosts.start(number, shards, output) for number in (0, 1)]
    if fault != "none":
        wait_for_state(output, 50)
    if fault == "worker":
        os.kill(worker_of(agents[1]), signal.SIGKILL)
    elif fault == "host":
        worker = worker_of(agents[1])
        os.killpg(agents[1].pid, signal.SIGKILL)
        if Path(f"/proc/{worker}").exists():  # torchrun starts its workers in sessions of their own
            os.kill(worker, signal.SIGKILL)
    elif fault == "link":
        ip("-n", "electrify1", "link", "set", "elveth1", "down")
        time.sleep(10)
        ip("-n", "electrify1", "link", "set", "elveth1", "up")
    codes = [agent.wait(timeout=150) for agent in agents]
    return codes, time.monotonic() - started


def losses(output: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["gen_loss"], line["disc_loss"]) for line in lines if line["kind"] == "train"]


def main() -> None:
    faults = sys.argv[1:] or ["worker", "host", "link"]
    with tempfile.TemporaryDirectory() as name, Hosts() as hosts:
        folder = Path(name)
        wait(fork(lambda: make_shards(folder)))
        shards = folder / "shards"
        codes, seconds = run(hosts, shards, folder / "none", "none")
        expected = fingerprint(folder / "none")
        print(f"two hosts, nothing disturbed: exit {codes}, {seconds:.0f} s")
        for fault in faults:
            codes, seconds = run(hosts, shards, folder / fault, fault)
            restarts = (folder / f"{fault}-host0.log").read_text().count("Continuing from step")
            if fault == "host":
                mine, theirs = losses(folder / fault), losses(folder / "none")
                steps_agree = [one[0] for one in mine] == [one[0] for one in theirs]
                worst = max(
                    abs(a / b - 1) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True)
                )
                verdict = f"every step once: {steps_agree}, losses differ by at most {worst:.1e}"
            else:
                verdict = f"equal bit for bit: {fingerprint(folder / fault) == expected}"
            print(f"{fault}: exit {codes}, {seconds:.0f} s, began again {restarts} times; {verdict}", flush=True)


if __name__ == "__main__":
    main()
