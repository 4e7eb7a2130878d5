"""What can go wrong in a user's hands, as types the command line turns into one line and an exit code.

Every message says what is wrong, where, what was expected and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_WORD = 200
"""Comparing words takes time that grows with the square of their length, and a file may hold any."""


class ElectrifyError(Exception):
    """Base of the errors a user can mend; the command line prints it and exits with code 2."""


class ConfigError(ElectrifyError):
    """A setting is unknown, of the wrong type, out of range, or does not fit another."""


class DataError(ElectrifyError):
    """A corpus, shard folder or labelled file cannot be used as it is."""


class CheckpointError(ElectrifyError):
    """A model folder or the saved state of a run cannot be used as it is."""


class TrainingError(ElectrifyError):
    """Training can not go on, as when the loss is not a number."""


class OtherProcessFailed(Exception):  # noqa: N818 - not an error of this process
    """Another process of the run failed and has said why; this one ends without a word."""


class RunStopped(Exception):  # noqa: N818 - nothing is wrong: it was asked for
    """A run ended early because a signal asked for it; its state is saved.

    Attributes:
        signal_number: Which signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known word, or the list of known words.

    Args:
        word: What the user wrote.
        known: What would have been accepted.
    """
    choices = list(known)
    close = get_close_matches(word, choices, n=1, cutoff=0.6) if len(word) <= _LONGEST_WORD else []
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(choices)}." if choices else ""
