"""Rows with their masks drawn: what objectives that hide tokens prepare."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from electrify.config import MaskingConfig
from electrify.models.inputs import Inputs
from electrify.noise import network_keys
from electrify.objectives.difficulty import Difficulty
from electrify.objectives.masking import Masking, mask
from electrify.objectives.objective import Counts, Scheduled
from electrify.objectives.schedules import masking_at


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows with their masks drawn, ready for a forward pass."""

    inputs: Inputs
    """The original rows."""
    keys: Tensor
    """One key a row, (B,) int64."""
    masking: Masking
    num_tokens: int
    """Real tokens in all rows."""
    counts: Counts
    """How many terms each loss has."""

    @property
    def num_masked(self) -> int:
        """Return how many positions were chosen."""
        return self.masking.positions.numel()

    @property
    def original_ids(self) -> Tensor:
        """Return what stood at the chosen positions, (P,) int64."""
        return self.inputs.input_ids.flatten()[self.masking.positions]

    def shown(self, ids: Tensor, *, network: int, drops: bool) -> Inputs:
        """Return the rows with other ids, for one of an objective's networks.

        Args:
            ids: (B, T) int64.
            network: Its number; sites of dropout are numbered within a network.
            drops: Whether dropout happens.
        """
        return replace(self.inputs, input_ids=ids, dropout_keys=network_keys(self.keys, network) if drops else None)


class Masker(Scheduled):
    """Draws the masks of rows; without parameters.

    Args:
        config: How positions are chosen and what is shown there.
        special_ids: Ids that are never chosen; padding among them.
        mask_id: Id of [MASK].
        vocab_size: V.
        continuing_ids: Ids of pieces that continue a word; only words and spans need them.
    """

    special_ids: Tensor
    is_continuing: Tensor

    def __init__(
        self,
        config: MaskingConfig,
        *,
        special_ids: tuple[int, ...],
        mask_id: int,
        vocab_size: int,
        continuing_ids: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.mask_id = mask_id
        self.vocab_size = vocab_size
        self.register_buffer("special_ids", torch.tensor(special_ids), persistent=False)
        is_continuing = torch.zeros(vocab_size, dtype=torch.bool)
        is_continuing[list(continuing_ids)] = True
        self.register_buffer("is_continuing", is_continuing, persistent=False)
        self.difficulty = Difficulty(vocab_size, config.adaptive) if config.adaptive else None

    def observe(self, rows: MaskedRows, losses: Tensor) -> None:
        """Note how hard the chosen tokens were, in training and if that is asked for.

        Args:
            rows: What `draw` returned.
            losses: Cross-entropy at each chosen position in nats, (P,) float32, detached.
        """
        if self.difficulty is not None and self.training:
            self.difficulty.observe(rows.original_ids, losses)

    def draw(self, inputs: Inputs, keys: Tensor, *, count: Callable[[Masking, int], Counts]) -> MaskedRows:
        """Draw the masks of some rows; the same for a row whatever it is batched with.

        Args:
            inputs: Original rows.
            keys: One key a row, (B,) int64; see `electrify.noise.row_keys`.
            count: Says how many terms each loss has, for the masks and the number of real tokens.
        """
        ids = inputs.input_ids
        full = torch.full((ids.shape[0],), ids.shape[1], device=ids.device)
        lengths = full if inputs.attention_mask is None else inputs.attention_mask.sum(1)
        masking = mask(
            ids,
            lengths,
            keys,
            special_ids=self.special_ids,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            config=masking_at(self.config, self.progress) if self.training else self.config,
            continues=self.is_continuing[ids] if self.config.unit != "token" else None,
            weights=self.difficulty.weights()[ids] if self.difficulty is not None and self.training else None,
        )
        num_tokens = int(lengths.sum())
        return MaskedRows(inputs, keys, masking, num_tokens, count(masking, num_tokens))
