"""Doing something in a process of its own that can be killed, without loading everything again."""

import os
import sys
from collections.abc import Callable
from typing import Any

import torch


def fork(action: Callable[[], Any]) -> int:
    """Do something in a process of its own; returns its id. It exits with 0, or with 1 and a line about the error."""
    process = os.fork()
    if process:
        return process
    code = 0
    try:
        torch.set_num_threads(1)
        action()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(process: int) -> int:
    """Return a process's exit code, negative for the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
