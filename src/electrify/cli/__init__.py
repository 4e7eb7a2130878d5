"""The command line: one command a verb, options from the same configs, results as tables or JSON.

Only this package prints. Errors a user can mend are one line on standard error and exit code 2. Nothing heavy is
imported until a command runs, so `--help` is quick.
"""

import io
import logging
import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError
from pydantic import ValidationError

from electrify import progress
from electrify.cli import (  # noqa: F401 - their commands register themselves
    bench,
    comparing,
    corpus,
    docstrings,
    few_labels,
    finetuning,
    importing,
    predicting,
    pretraining,
)
from electrify.cli.app import app, fail, process_rank
from electrify.config import PretrainConfig
from electrify.errors import ConfigError, ElectrifyError, OtherProcessFailed, RunStopped
from electrify.recipes import explain

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: Words after the program's name; the process's own by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "RANK" in os.environ:  # torch repeats its advice once a process
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or file that lacks a letter gets its number
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if "--json" not in words and process_rank() == 0:
        progress.enable()
    try:
        with docstrings.read_once():
            app(words, exit_on_error=False, print_error=False)
    except (ConfigError, CycloptsError) as error:
        if process_rank():  # the first process says the same
            sys.exit(2)
        fail(_explain(error) if isinstance(error, CycloptsError) else str(error))
    except ElectrifyError as error:
        fail(str(error))
    except OtherProcessFailed:
        sys.exit(2)
    except BrokenPipeError:  # whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
    except RunStopped as stopped:
        if process_rank() == 0:
            print(f"electrify: {stopped}", file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:
        print("electrify: interrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _explain(error: CycloptsError) -> str:
    problem = error.__cause__
    if isinstance(problem, ValidationError):  # a value that the configs refuse
        return f"--{explain(problem, PretrainConfig)}"
    return " ".join(str(error).split())
