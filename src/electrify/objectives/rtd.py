"""Replaced token detection: two networks, one corruption, two losses.

Source: Clark et al. 2020 (ELECTRA), section 2. The generator predicts the hidden tokens and is trained as a masked
language model; one of its samples is put at each chosen position; the discriminator says for *every* real token whether
it was replaced. A sample that happens to be the original is not replaced. No gradient passes through the sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import MaskingConfig, ObjectiveConfig
from electrify.models.heads import Discriminator, Generator, Network
from electrify.models.inputs import Inputs
from electrify.noise import fold
from electrify.objectives import diagnostics
from electrify.objectives.corruption import corrupt
from electrify.objectives.masking import Masking, mask
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.vocabulary import predict_tokens

_GENERATOR, _DISCRIMINATOR = 1, 2  # sites of dropout are numbered within a network


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

    @property
    def num_masked(self) -> int:
        """Return how many predictions the generator makes."""
        return self.masking.positions.numel()

    @property
    def counts(self) -> Counts:
        """Return how many terms each loss has: predictions and real tokens."""
        return {"gen_loss": self.num_masked, "disc_loss": self.num_tokens}


@dataclass(frozen=True, slots=True)
class RTDOutput:
    """Loss and what diagnostics are made of; all but `loss` is detached."""

    loss: Tensor
    """gen_weight · generator loss + disc_weight · discriminator loss, as parts of the whole batch; scalar."""
    gen_loss: Tensor
    """Sum over predictions of the cross-entropy in nats, scalar float32."""
    disc_loss: Tensor
    """Sum over real tokens of the binary cross-entropy in nats, scalar float32."""
    disc_logits: Tensor
    """Logits of "replaced" at the real tokens, (N,)."""
    original_ids: Tensor
    """What stood at the chosen positions, (P,) int64."""
    sampled_ids: Tensor
    """What the generator put there, (P,) int64."""
    best_ids: Tensor | None
    """What the generator holds most likely there, (P,) int64; None without figures."""
    gen_entropy: Tensor | None
    """Entropy of the generator's distributions in nats, (P,) float32; None without figures."""
    is_replaced: Tensor
    """At the real tokens, (N,) bool."""
    corrupted_ids: Tensor
    """What the discriminator saw, (B, T) int64."""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Return the sums of both losses."""
        return {"gen_loss": self.gen_loss, "disc_loss": self.disc_loss}


class ReplacedTokenDetection(Objective[MaskedRows, RTDOutput]):
    """The two networks and how they are trained together.

    Args:
        generator: Masked language model.
        discriminator: Token detector; may share embeddings with the generator.
        masking: How positions are chosen.
        objective: Weights and sampling.
        special_ids: Ids that are never chosen; padding among them.
        mask_id: Id of [MASK].
    """

    title = "replaced token detection"
    special_ids: Tensor

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        *,
        masking: MaskingConfig,
        objective: ObjectiveConfig,
        special_ids: tuple[int, ...],
        mask_id: int,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.masking = masking
        self.objective = objective
        self.mask_id = mask_id
        self.register_buffer("special_ids", torch.tensor(special_ids), persistent=False)

    def prepare(self, inputs: Inputs, keys: Tensor) -> MaskedRows:
        """Draw the masks of some rows; the same for a row whatever it is batched with.

        Args:
            inputs: Original rows.
            keys: One key a row, (B,) int64; see `electrify.noise.row_keys`.
        """
        ids = inputs.input_ids
        full = torch.full((ids.shape[0],), ids.shape[1], device=ids.device)
        lengths = full if inputs.attention_mask is None else inputs.attention_mask.sum(1)
        masking = mask(ids, lengths, keys, special_ids=self.special_ids, mask_id=self.mask_id, config=self.masking)
        return MaskedRows(inputs, keys, masking, int(lengths.sum()))

    def forward(self, rows: MaskedRows, *, totals: Counts, with_figures: bool = False) -> RTDOutput:
        """Corrupt the rows and compute both losses.

        Args:
            rows: A micro-batch.
            totals: Predictions ("gen_loss") and real tokens ("disc_loss") in the whole batch of the step; the losses
                are means over them.
            with_figures: Whether `best_ids` and `gen_entropy` are computed.
        """
        ids, positions = rows.inputs.input_ids, rows.masking.positions
        original_ids = ids.flatten()[positions]

        shown = self._inputs(rows, rows.masking.masked_ids, _GENERATOR)
        hidden = self.generator.hidden_states(shown).flatten(0, 1)[positions]  # (P, H): only where masked
        predictions = predict_tokens(
            self.generator.vectors(hidden),
            self.generator.body.word_embeddings.weight,
            self.generator.output_bias,
            original_ids,
            rows.masking.sample_keys,
            temperature=self.objective.temperature,
            exclude_target=self.objective.exclude_original,
            with_figures=with_figures,
        )
        corruption = corrupt(ids, positions, predictions.sampled_ids)

        disc_logits = self.discriminator(self._inputs(rows, corruption.corrupted_ids, _DISCRIMINATOR)).float()
        is_replaced = corruption.is_replaced
        if rows.inputs.attention_mask is not None:  # padding is neither attended nor judged
            disc_logits, is_replaced = disc_logits[rows.inputs.attention_mask], is_replaced[rows.inputs.attention_mask]
        else:
            disc_logits, is_replaced = disc_logits.flatten(), is_replaced.flatten()
        disc_loss = F.binary_cross_entropy_with_logits(disc_logits, is_replaced.float(), reduction="sum")

        loss = self.objective.gen_weight * predictions.loss / max(
            totals["gen_loss"], 1
        ) + self.objective.disc_weight * disc_loss / max(totals["disc_loss"], 1)
        return RTDOutput(
            loss=loss,
            gen_loss=predictions.loss.detach(),
            disc_loss=disc_loss.detach(),
            disc_logits=disc_logits.detach(),
            original_ids=original_ids,
            sampled_ids=predictions.sampled_ids,
            best_ids=predictions.best_ids,
            gen_entropy=predictions.entropy,
            is_replaced=is_replaced,
            corrupted_ids=corruption.corrupted_ids,
        )

    def figures(self, output: RTDOutput) -> Figures:
        """Reduce a forward pass to what `diagnose` needs; see `diagnostics.summarise`."""
        return diagnostics.summarise(output)

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of some forward passes; see `diagnostics.diagnose`."""
        return diagnostics.diagnose(figures)

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say which network does not learn; see `diagnostics.find_trouble`."""
        plateau = diagnostics.plateau_loss(token_counts, mask_token_prob=self.masking.mask_token_prob)
        return diagnostics.find_trouble(held_out["gen_loss"], held_out["disc_auc"], plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return both networks."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def _inputs(self, rows: MaskedRows, ids: Tensor, network: int) -> Inputs:
        keys = fold(rows.keys, network) if self.training else None
        return replace(rows.inputs, input_ids=ids, dropout_keys=keys)
