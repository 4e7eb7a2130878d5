"""Names of a classifier's classes."""

from collections.abc import Sequence

from electrify.errors import ConfigError

REPLACED_TOKEN_LABELS = ("original", "replaced")
"""Labels of a token classifier that is a discriminator; class 1 means replaced."""


def label_names(*, num_labels: int | None, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the classes in the order of the logits.

    Args:
        num_labels: How many; None if the names say it.
        labels: Their names; None gives LABEL_0, LABEL_1, …, as in published folders.

    Raises:
        ConfigError: If neither is given, the two disagree, there are none, or a name is there twice.
    """
    if labels is None:
        if num_labels is None:
            raise ConfigError("A classifier needs num_labels or labels, and has neither.")
        labels = [f"LABEL_{index}" for index in range(num_labels)]
    if num_labels is not None and num_labels != len(labels):
        raise ConfigError(f"num_labels is {num_labels}, but there are {len(labels)} labels: {', '.join(labels)}.")
    if not labels:
        raise ConfigError("A classifier needs at least 1 label, got 0.")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise ConfigError(f"Labels must differ, but '{twice}' is there twice.")
    return tuple(labels)
