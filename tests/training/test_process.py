"""Freed memory stays with the process; the collector does not look through what was there before."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, platform, resource, sys
import torch
from electrify.training.process import settle
if sys.argv[1] == "settled":
    settle()
    assert gc.get_freeze_count() > 10_000
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(16 << 20, dtype=torch.uint8).fill_(1)
        torch.empty(48 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    counts = {
        kind: int(subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, check=True).stdout)
        for kind in ("plain", "settled")
    }
    assert counts["settled"] * 100 < counts["plain"], counts
