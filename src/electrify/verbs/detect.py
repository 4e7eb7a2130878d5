"""Ask a discriminator which tokens of a text look replaced."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from electrify.data.tokenizer_files import load_tokenizer
from electrify.models.checkpoint import resolve_folder
from electrify.models.inputs import Inputs
from electrify.verbs.loading import load_discriminator


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token and what the discriminator thinks of it."""

    token: str
    start: int
    """First character in the text."""
    end: int
    """One past the last character."""
    probability: float
    """Of having been replaced, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A text's tokens, special ones left out."""

    text: str
    tokens: list[TokenScore]
    num_cut: int
    """Tokens beyond the model's length, not judged."""


@torch.no_grad()
def detect(folder: str | Path, texts: str | Sequence[str]) -> list[Detection]:
    """Return each token's probability of having been replaced.

    Args:
        folder: A discriminator: a run's `discriminator/`, another published folder, or a hub name.
        texts: What to judge, one text or several; a text longer than the model takes is cut and the cut tokens counted.

    Raises:
        CheckpointError: If the folder is not a discriminator.
    """
    path = resolve_folder(folder)
    network, tokenizer = load_discriminator(path), load_tokenizer(path)
    results = []
    for text in [texts] if isinstance(texts, str) else texts:
        encoded = tokenizer.encode([text], max_length=network.config.max_position_embeddings)[0]
        ids = torch.tensor([encoded.input_ids])
        probabilities = network(Inputs(ids)).float().sigmoid()[0].tolist()
        special = set(tokenizer.special_ids) - {tokenizer.unk_id, tokenizer.mask_id}
        tokens = [
            TokenScore(token, start, end, probability)
            for token_id, token, (start, end), probability in zip(
                encoded.input_ids, encoded.tokens, encoded.offsets, probabilities, strict=True
            )
            if token_id not in special
        ]
        results.append(Detection(text, tokens, encoded.num_cut))
    return results
