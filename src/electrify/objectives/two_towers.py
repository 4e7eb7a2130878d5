"""A noise model that says for every position at once which tokens could stand there: two towers, one from each side.

Source: Clark et al. 2020 (Electric, arXiv 2012.08561). One tower reads from left to right, the other from
right to left; what they have read before and behind a position is added up and scored against the vocabulary, so the
token at the position itself is never seen. The towers have layers and heads of their own and one word table.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from electrify.models.causal_heads import CausalLM
from electrify.models.inputs import Inputs
from electrify.noise import network_keys
from electrify.objectives.clm import find_next

_FORWARD, _BACKWARD = 1, 2


class TwoTowers(nn.Module):
    """The noise model.

    Args:
        forwards: Reads from left to right.
        backwards: Reads from right to left; its word table must be the other's.
    """

    def __init__(self, forwards: CausalLM, backwards: CausalLM) -> None:
        super().__init__()
        if forwards.body.word_embeddings is not backwards.body.word_embeddings:
            raise ValueError("the towers must share their word table")
        self.forwards = forwards
        self.backwards = backwards

    @property
    def table(self) -> Tensor:
        """The word table, (V, E)."""
        return self.forwards.body.word_embeddings.weight

    @property
    def bias(self) -> Tensor:
        """What is added to the scores of the vocabulary, (V,)."""
        return self.forwards.output_bias + self.backwards.output_bias

    def forward(self, inputs: Inputs, positions: Tensor, keys: Tensor | None) -> Tensor:
        """Return what is multiplied with the table, (P, E), for positions as indices into B·T, (P,) int64.

        Args:
            inputs: Original rows.
            positions: Where the noise is wanted.
            keys: Dropout keys of the rows, (B,) int64; None for no dropout.
        """
        has_next = find_next(inputs)
        has_before = torch.zeros_like(has_next)
        has_before[:, 1:] = has_next[:, :-1]
        before = self.forwards.hidden_states(_keyed(inputs, keys, _FORWARD)).flatten(0, 1)  # (B·T, H)
        order = _reverse(inputs)
        turned = self.backwards.hidden_states(_keyed(_reordered(inputs, order), keys, _BACKWARD))
        behind = turned.gather(1, order[..., None].expand_as(turned)).flatten(0, 1)
        left, right = (positions - 1).clamp(min=0), (positions + 1).clamp(max=before.shape[0] - 1)
        return (
            self.forwards.vectors(before[left]) * has_before.flatten()[positions, None]
            + self.backwards.vectors(behind[right]) * has_next.flatten()[positions, None]
        )


def _keyed(inputs: Inputs, keys: Tensor | None, tower: int) -> Inputs:
    return replace(inputs, dropout_keys=None if keys is None else network_keys(keys, tower))


def _reverse(inputs: Inputs) -> Tensor:
    """Return for each place which one it changes with, so that real tokens are reversed and padding stays, (B, T)."""
    rows, tokens = inputs.input_ids.shape
    places = torch.arange(tokens, device=inputs.input_ids.device).expand(rows, tokens)
    if inputs.attention_mask is None:
        return tokens - 1 - places
    return torch.where(inputs.attention_mask.bool(), inputs.attention_mask.sum(1, keepdim=True) - 1 - places, places)


def _reordered(inputs: Inputs, order: Tensor) -> Inputs:
    types, documents = inputs.token_type_ids, inputs.document_ids
    return replace(
        inputs,
        input_ids=inputs.input_ids.gather(1, order),
        token_type_ids=None if types is None else types.gather(1, order),
        document_ids=None if documents is None else documents.gather(1, order),
    )
