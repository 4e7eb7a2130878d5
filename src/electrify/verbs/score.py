"""How likely texts are, token by token, in one pass: pseudo-log-likelihoods for re-ranking.

Each token's score is the logarithm of its probability given all others, as an Electric scorer learned it (Clark et al.
2020, arXiv 2012.08561); a text's is their sum. They are normalised only as well as learning made them, so
they compare texts and are not probabilities by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError
from electrify.models.checkpoint import resolve_folder
from electrify.models.config_json import CONFIG_FILE, read_settings
from electrify.models.inputs import Inputs
from electrify.progress import bar
from electrify.verbs.loading import load_discriminator

_ROLE = "scorer"


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One token; special ones are not scored."""

    token: str
    score: float
    """Logarithm of its probability given the others, nats."""


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One text."""

    text: str
    score: float
    """Sum over the tokens, nats; higher is likelier. Texts of unlike lengths compare by score / number of tokens."""
    tokens: list[ScoredToken]
    num_cut: int
    """Tokens beyond the model's length, which are not scored."""


@torch.no_grad()
def score(folder: str | Path, texts: str | Sequence[str]) -> list[ScoredText]:
    """Score texts; each is a pass of its own.

    Args:
        folder: A run's `scorer/`, of `objective.kind` "electric".
        texts: One or any number.

    Raises:
        CheckpointError: If the folder is no scorer.
    """
    texts = [texts] if isinstance(texts, str) else texts
    path = resolve_folder(folder)
    ours = read_settings(path / CONFIG_FILE).get("electrify")
    if not isinstance(ours, dict) or ours.get("role") != _ROLE:
        raise CheckpointError(
            f'{path}: is no scorer. Train one with --objective.kind electric, and give its "{_ROLE}/".'
        )
    network, tokenizer = load_discriminator(path).eval(), load_tokenizer(path)
    special = set(tokenizer.special_ids)
    results = []
    with bar("Scoring", total=len(texts)) as progress:
        for text in texts:
            encoded = tokenizer.encode([text], max_length=network.config.max_position_embeddings)[0]
            energies = network(Inputs(torch.tensor([encoded.input_ids])))[0].tolist()
            tokens = [
                ScoredToken(tokenizer.token(token_id), -energy)
                for token_id, energy in zip(encoded.input_ids, energies, strict=True)
                if token_id not in special
            ]
            results.append(ScoredText(text, sum(one.score for one in tokens), tokens, encoded.num_cut))
            progress.advance(1)
    return results
