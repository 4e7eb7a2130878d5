"""What a process says of its own memory."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is the Linux kernel's")
def test_peak_is_the_processs_own_not_its_parents() -> None:
    """A parent that had 600 MB in use starts a child that has next to nothing, then 300 MB."""
    child = (
        "from electrify.memory import peak_bytes; before = peak_bytes(); block = b'x' * 300_000_000; "
        "print(before, peak_bytes() - before)"
    )
    parent = (
        "import subprocess, sys; block = b'x' * 600_000_000; "
        f"print(subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True, check=True).stdout)"
    )
    said = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True, timeout=60).stdout
    before, grown = map(int, said.split())
    assert before < 200_000_000
    assert 290_000_000 < grown < 350_000_000
