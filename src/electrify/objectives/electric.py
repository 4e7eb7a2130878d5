"""Electric: an energy for every token given all others, learned by telling tokens from noise.

Source: Clark et al. 2020 (Electric, arXiv 2012.08561). The scorer gives each token an energy E, so that exp(-E) is its
probability given the others, up to a normaliser that learning drives to 1. Of n tokens k are replaced by draws from a
noise model q; with noise-contrastive estimation (in the cheap form that replaces all k at once) the odds that
a token is noise are k · q / ((n - k) · exp(-E)). So the logit is E + log q + log(k / (n - k)), and unlike in replaced
token detection a draw that happens to be the original counts as noise. The energies of a text, summed, are its
pseudo-log-likelihood in one pass.

Simpler than the paper: q is taken given the original tokens, as one pass of the two towers gives it, and special tokens
are neither replaced nor scored.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify.config import ObjectiveConfig
from electrify.models.heads import Discriminator, Network
from electrify.models.inputs import Inputs
from electrify.noise import network_keys
from electrify.objectives import diagnostics
from electrify.objectives.corruption import corrupt
from electrify.objectives.masking import find_candidates
from electrify.objectives.objective import Counts, Figures, Objective
from electrify.objectives.ranking import auc
from electrify.objectives.rows import MaskedRows, Masker
from electrify.objectives.tokens import TokenOutput
from electrify.objectives.two_towers import TwoTowers
from electrify.objectives.vocabulary import predict_tokens, score_tokens

_NOISE, _SCORER = 1, 2


@dataclass(frozen=True, slots=True)
class ElectricRows:
    """Rows with the places of noise drawn."""

    rows: MaskedRows
    kept_positions: Tensor
    """Tokens that are scored and stay, as indices into B·T, (N,) int64."""
    offsets: Tensor
    """log(k / (n - k)) of each row, (B,) float32."""

    @property
    def num_tokens(self) -> int:
        """Return the number of real tokens."""
        return self.rows.num_tokens

    @property
    def counts(self) -> Counts:
        """Return how many terms each loss has: tokens that are not special."""
        return dict.fromkeys(("noise_loss", "nce_loss"), self.rows.num_masked + self.kept_positions.numel())


class Electric(Objective[ElectricRows, TokenOutput]):
    """The scorer, the noise model, and how they are trained together.

    Args:
        scorer: Its logit at a token is the token's energy.
        noise: Trained by maximum likelihood on the same rows; no gradient of the scorer reaches it.
        masker: Chooses the tokens that are replaced, each at most once.
        objective: Weights.
    """

    title = "noise-contrastive estimation of token energies"

    def __init__(self, scorer: Discriminator, noise: TwoTowers, *, masker: Masker, objective: ObjectiveConfig) -> None:
        super().__init__()
        self.scorer = scorer
        self.noise = noise
        self.masker = masker
        self.objective = objective

    def prepare(self, inputs: Inputs, keys: Tensor) -> ElectricRows:
        """Choose what is replaced; see `Masker.draw`."""
        rows = self.masker.draw(inputs, keys, count=lambda *_: {})
        is_candidate = find_candidates(inputs.input_ids, self.masker.special_ids)
        if inputs.attention_mask is not None:
            is_candidate &= inputs.attention_mask.bool()
        is_chosen = torch.zeros_like(is_candidate).flatten()
        is_chosen[rows.masking.positions] = True
        kept = is_candidate & ~is_chosen.view_as(is_candidate)
        num_chosen = is_chosen.view_as(is_candidate).sum(1).float()
        # A row of which all is replaced has no odds; half a token keeps them finite.
        offsets = (num_chosen.clamp(min=0.5) / kept.sum(1).float().clamp(min=0.5)).log()
        return ElectricRows(rows, kept.flatten().nonzero().squeeze(1), offsets)

    def forward(self, batch: ElectricRows, *, totals: Counts, with_figures: bool = False) -> TokenOutput:
        """Draw the noise and compute both losses.

        Args:
            batch: A micro-batch.
            totals: Tokens that are not special, for each loss, in the whole batch of the step.
            with_figures: Whether the noise model's accuracy and entropy are computed.
        """
        rows, kept = batch.rows, batch.kept_positions
        chosen, ids = rows.masking.positions, rows.inputs.input_ids
        noise_keys = network_keys(rows.keys, _NOISE) if self.training else None
        vectors = self.noise(rows.inputs, torch.cat([chosen, kept]), noise_keys)
        table, bias = self.noise.table, self.noise.bias
        drawn = predict_tokens(
            vectors[: len(chosen)], table, bias, rows.original_ids, rows.masking.sample_keys, with_figures=with_figures
        )
        kept_ids = ids.flatten()[kept]
        others = score_tokens(vectors[len(chosen) :], table, bias, kept_ids, with_figures=with_figures)
        noise_loss = drawn.loss + others.loss

        with torch.no_grad():
            original, sampled = (
                _scores(vectors[: len(chosen)], table, bias, some) for some in (rows.original_ids, drawn.sampled_ids)
            )
            log_q = torch.cat([sampled - original - drawn.losses, -others.losses])  # of what the scorer is shown

        corrupted_ids = corrupt(ids, chosen, drawn.sampled_ids).corrupted_ids
        shown = rows.shown(corrupted_ids, network=_SCORER, drops=self.training)
        places = torch.cat([chosen, kept])
        energies = self.scorer(shown).float().flatten()[places]
        logits = energies + log_q + batch.offsets[places // ids.shape[1]]
        is_noise = torch.arange(len(places), device=ids.device) < len(chosen)
        nce_loss = F.binary_cross_entropy_with_logits(logits, is_noise.float(), reduction="sum")

        weighted = self.objective.gen_weight * noise_loss / max(totals["noise_loss"], 1)
        return TokenOutput(
            loss=weighted + self.objective.disc_weight * nce_loss / max(totals["nce_loss"], 1),
            sums={"noise_loss": noise_loss.detach(), "nce_loss": nce_loss.detach()},
            target_ids={"noise": kept_ids},
            scores={"noise": others},
            more={"noise_scores": logits.detach(), "energies": energies.detach(), "noise_labels": is_noise},
        )

    def figures(self, output: TokenOutput) -> Figures:
        """Reduce a forward pass to counts, and the scorer's logits."""
        return output.figures()

    def diagnose(self, figures: Figures) -> dict[str, float]:
        """Return the figures of some forward passes.

        Returns:
            noise_accuracy and noise_entropy of the noise model at tokens that stay; nce_auc, how well noise is told
            from tokens; mean_log_likelihood, the mean of -E at tokens that stay, nats.
        """
        is_noise = figures["noise_labels"]
        return {
            **diagnostics.diagnose_tokens("noise", figures),
            "nce_auc": auc(figures["noise_scores"], is_noise),
            "mean_log_likelihood": -float(figures["energies"][~is_noise].double().mean()),
        }

    def find_trouble(self, held_out: Mapping[str, float], token_counts: Tensor) -> str | None:
        """Say whether the noise model knows no more than frequencies."""
        plateau = diagnostics.unigram_entropy(token_counts)
        return diagnostics.find_plateau("noise model", held_out.get("noise_loss"), plateau=plateau)

    def networks(self) -> dict[str, Network]:
        """Return the scorer; the towers are of no use alone."""
        return {"scorer": self.scorer}

    def trained(self) -> list[Network]:
        """Return the scorer and both towers."""
        return [self.scorer, self.noise.forwards, self.noise.backwards]


def _scores(vectors: Tensor, table: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    """Return the scores of one token at each position, (P,) float32."""
    scores: Tensor = torch.linalg.vecdot(vectors.float(), table[ids].float()) + bias[ids].float()
    return scores
