"""How much memory this process has had in use."""

import re
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the most memory that this process ever had in use.

    On Linux by the kernel's own mark: `ru_maxrss` of a new process begins at what its parent had in use. Elsewhere the
    mark of a process that was started by a large one may be its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), flags=re.MULTILINE)
        if peak:
            return int(peak[1]) * 1024
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
