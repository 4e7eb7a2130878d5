"""Ask a masked language model what belongs at [MASK]."""

from dataclasses import dataclass
from pathlib import Path

import torch

from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, DataError
from electrify.models.checkpoint import resolve_folder
from electrify.models.inputs import Inputs
from electrify.verbs.loading import load_generator


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token for one [MASK]."""

    token: str
    probability: float
    """In [0, 1]."""


@torch.no_grad()
def fill(folder: str | Path, text: str, *, top: int = 5) -> list[list[Candidate]]:
    """Return the most likely tokens for every [MASK] of a text, most likely first.

    Args:
        folder: A masked language model: a run's `generator/` or `encoder/`, another published folder, or a hub name.
        text: With at least one "[MASK]".
        top: How many tokens for each.

    Raises:
        ConfigError: If `top` is below 1.
        CheckpointError: If the folder is not one.
        DataError: If no [MASK] is left within the model's length.
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1, got {top}.")
    path = resolve_folder(folder)
    network, tokenizer = load_generator(path), load_tokenizer(path)
    encoded = tokenizer.encode([text], max_length=network.config.max_position_embeddings)[0]
    positions = [index for index, token_id in enumerate(encoded.input_ids) if token_id == tokenizer.mask_id]
    if not positions:
        raise DataError(
            f"no [MASK] in the first {len(encoded.input_ids)} tokens of the text. Write [MASK] where a word is missing."
        )
    hidden = network.hidden_states(Inputs(torch.tensor([encoded.input_ids])))[0, positions]
    unused = torch.tensor(tokenizer.unused_ids(network.config.vocab_size), dtype=torch.int64)
    scores = network.logits(hidden).float().index_fill(1, unused, -torch.inf)
    best = scores.softmax(-1).topk(min(top, scores.shape[1] - len(unused)))
    return [
        [Candidate(tokenizer.token(token_id), probability) for token_id, probability in zip(ids, values, strict=True)]
        for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
