"""Show what the two networks of a run do to a text: what was replaced, and what the discriminator says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from electrify.config import MaskingConfig, ObjectiveConfig
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.models.checkpoint import resolve_folder
from electrify.models.inputs import Inputs
from electrify.noise import row_keys
from electrify.objectives.rows import Masker
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.verbs.loading import load_discriminator, load_generator


@dataclass(frozen=True, slots=True)
class CorruptedToken:
    """One position of a corrupted text."""

    original: str
    shown: str
    """What the discriminator saw."""
    is_replaced: bool
    probability: float
    """That it was replaced, as the discriminator says, in [0, 1]."""


@torch.no_grad()
def corrupt(
    generator: str | Path, discriminator: str | Path, texts: Sequence[str], *, seed: int = 0, mask_prob: float = 0.15
) -> list[list[CorruptedToken]]:
    """Corrupt texts as in pre-training and judge every token; special tokens are left out.

    Args:
        generator: Published folder of the generator.
        discriminator: Published folder of the discriminator, with the same vocabulary.
        texts: What to corrupt; cut to the discriminator's length.
        seed: Another seed masks and samples otherwise.
        mask_prob: Share of tokens chosen.
    """
    folder = resolve_folder(discriminator)
    tokenizer = load_tokenizer(folder)
    rtd = ReplacedTokenDetection(
        load_generator(resolve_folder(generator)),
        load_discriminator(folder),
        masker=Masker(
            MaskingConfig(mask_prob=mask_prob),
            special_ids=tokenizer.special_ids,
            mask_id=tokenizer.mask_id,
            vocab_size=tokenizer.vocab_size,
        ),
        objective=ObjectiveConfig(),
    ).eval()
    special = set(tokenizer.special_ids) - {tokenizer.unk_id}
    results = []
    limit = rtd.discriminator.config.max_position_embeddings
    for number, encoded in enumerate(tokenizer.encode(list(texts), max_length=limit)):
        inputs = Inputs(torch.tensor([encoded.input_ids]))
        rows = rtd.prepare(inputs, row_keys(seed, 0, torch.tensor([number])))
        output = rtd(rows, totals=rows.counts)
        results.append(
            [
                CorruptedToken(tokenizer.token(original), _named(tokenizer, shown), original != shown, probability)
                for original, shown, probability in zip(
                    encoded.input_ids,
                    output.corrupted_ids[0].tolist(),
                    output.disc_logits.sigmoid().tolist(),
                    strict=True,
                )
                if original not in special
            ]
        )
    return results


def _named(tokenizer: Tokenizer, token_id: int) -> str:
    """Return a token that a generator drew; its table may have more rows than the tokenizer has tokens."""
    try:
        return tokenizer.token(token_id)
    except KeyError:
        return f"[no token {token_id}]"
