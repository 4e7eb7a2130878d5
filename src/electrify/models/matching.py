"""Which stored tensor belongs to which parameter, decided from names and shapes alone, before anything is loaded.

A network with a head has its body under a prefix ("electra.", "model."); a bare body has none. Either opens the
other's file. A missing tensor is an error, and so is one too many: a silently ignored tensor is a wrong model.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from electrify.errors import CheckpointError
from electrify.models.weights import StoredTensor

_POSITION_IDS = "embeddings.position_ids"
"""A constant that files written before Transformers 4.31 hold beside the parameters."""
TIED_WEIGHTS = (
    "generator_lm_head.weight",
    "decoder.weight",
    "lm_head.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
"""Second copies of the word embedding, which some files hold."""


def match_tensors(
    stored: Mapping[str, StoredTensor],
    expected: Mapping[str, tuple[int, ...]],
    *,
    prefix: str,
    is_bare_body: bool,
    new_head: bool,
    folder: Path,
) -> dict[str, StoredTensor]:
    """Choose the stored tensors to load.

    Args:
        stored: What the folder holds, by name.
        expected: Shapes of the network's parameters, by name.
        prefix: What stands before the names of the body's parameters in networks with a head, dot included.
        is_bare_body: Whether the network is a body without a head; tensors of heads are then left alone.
        new_head: Whether the head will get new values; stored and expected tensors of heads are then left alone.
        folder: For messages.

    Returns:
        The stored tensors by the name of their parameter: all of `expected`, or all of its body if `new_head`.
        A stored copy of a tied output matrix is among them, under its own name, for the caller to compare.

    Raises:
        CheckpointError: If a tensor is missing, superfluous or of another shape.
    """
    found = _rename(stored, prefix=prefix, is_bare_body=is_bare_body)
    found = {name: tensor for name, tensor in found.items() if not name.endswith(_POSITION_IDS)}
    wanted = dict(expected)
    if new_head:
        found = {name: tensor for name, tensor in found.items() if name.startswith(prefix)}
        wanted = {name: shape for name, shape in wanted.items() if name.startswith(prefix)}
    _refuse_missing(wanted.keys() - found.keys(), prefix=prefix, is_bare_body=is_bare_body, folder=folder)
    superfluous = sorted(name for name in found.keys() - wanted.keys() if name.removeprefix(prefix) not in TIED_WEIGHTS)
    if superfluous:
        raise CheckpointError(
            f"{folder}: holds tensors that this network has no place for: {listed(superfluous)}. "
            "Open it as the network that config.json names, or ask for a new head."
        )
    for name, shape in wanted.items():
        tensor = found[name]
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.path}: tensor '{tensor.name}' is {list(tensor.shape)}, but config.json asks for "
                f"{list(shape)}. The two do not belong together, or the head has other labels."
            )
    return found


def listed(names: Iterable[str], *, at_most: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - at_most
    return ", ".join(ordered[:at_most]) + (f" and {more} more" if more > 0 else "")


def _rename(stored: Mapping[str, StoredTensor], *, prefix: str, is_bare_body: bool) -> dict[str, StoredTensor]:
    has_prefix = any(name.startswith(prefix) for name in stored)
    if is_bare_body and has_prefix:
        return {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if not is_bare_body and not has_prefix:
        return {prefix + name: tensor for name, tensor in stored.items()}
    return dict(stored)


def _refuse_missing(missing: set[str], *, prefix: str, is_bare_body: bool, folder: Path) -> None:
    if not missing:
        return
    if not is_bare_body and not any(name.startswith(prefix) for name in missing):
        raise CheckpointError(
            f"{folder}: has the body but not this head; missing: {listed(missing)}. "
            "Ask for a new head (new_head) to start it afresh, or give a folder of a network that has it."
        )
    raise CheckpointError(
        f"{folder}: tensors are missing: {listed(missing)}. The file does not fit its config.json, or is incomplete."
    )
