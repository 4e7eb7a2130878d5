"""How quickly the command line explains itself."""

import resource
import subprocess
import sys


def cpu_seconds(*words: str) -> float:
    """The least processor time of three runs of a command."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "electrify", *words], check=True, stdout=subprocess.DEVNULL, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_the_longest_help_takes_little_more_than_the_shortest() -> None:
    assert cpu_seconds("pretrain", "--help") < 2.2 * cpu_seconds("--help")  # 1.6; 2.7 with sources read repeatedly
