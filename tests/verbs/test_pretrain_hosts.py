"""Two hosts, which are network namespaces: a worker killed, a host lost, the link down for ten seconds.

The rounds are those of benchmarks/faults/hosts.py; they need root and `ip`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/faults"))
import hosts as program
from common import fingerprint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Any]:
    if reason := program.reason_to_skip():
        pytest.skip(reason)
    with program.Hosts() as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(hosts: Any, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("hosts") / "none"
    assert program.run(hosts, shards, output, "none").codes == [0, 0]
    return output


@pytest.mark.parametrize(("fault", "restarts"), [("worker", 1), ("link", 0)])
def test_what_passes_leaves_no_trace(
    fault: str, restarts: int, hosts: Any, shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    found = program.run(hosts, shards, tmp_path / "run", fault)
    assert found.codes == [0, 0]
    assert (found.num_restarts, found.num_refusals) == (restarts, 0)
    assert fingerprint(tmp_path / "run") == fingerprint(undisturbed)


def test_a_lost_host_leaves_the_other_to_finish_every_step_once(
    hosts: Any, shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    found = program.run(hosts, shards, tmp_path / "run", "host")
    assert found.codes == [0, -9]
    assert found.num_restarts == 1
    assert program.difference(tmp_path / "run", undisturbed) < 1e-5
