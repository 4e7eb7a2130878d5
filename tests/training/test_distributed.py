"""The processes of one run agree on what has happened to it."""

import os
import socket
import subprocess
import sys

SCRIPT = """
from electrify.training.distributed import join_world

with join_world(timeout_minutes=1) as world:
    print(world.num_restarts)
"""


def test_a_restart_that_one_host_has_counted_is_one_for_all() -> None:
    """The agent of a host on which nothing failed starts its workers again without counting it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **common, "RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["1\n", "1\n"]
