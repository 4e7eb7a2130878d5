"""Networks that read from left to right and predict the next token, named as published.

They are a masked language model's modules under another mask: what has been trained as the one can be published as the
other, which `as_decoder` does without a copy. ModernBERT's decoder has other names than its encoder in published
folders (`models.decoder_names`); here both have the same.
"""

from dataclasses import replace

import torch
from torch import Tensor

from electrify.models.electra_heads import ElectraForMaskedLM
from electrify.models.inputs import Inputs
from electrify.models.modernbert_heads import ModernBertForMaskedLM


class ElectraForCausalLM(ElectraForMaskedLM):
    """Which token comes next? A token sees itself and what stands before it."""

    def hidden_states(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        return super().hidden_states(replace(inputs, causal=True))


class ModernBertDecoderForCausalLM(ModernBertForMaskedLM):
    """The same; in local layers a token sees `local_attention // 2` tokens, itself among them."""

    def hidden_states(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        return super().hidden_states(replace(inputs, causal=True))


CausalLM = ElectraForCausalLM | ModernBertDecoderForCausalLM


def as_decoder(network: ElectraForMaskedLM | ModernBertForMaskedLM) -> CausalLM:
    """Return a network of the same modules that reads from left to right."""
    with torch.device("meta"):
        decoder: CausalLM
        if isinstance(network, ElectraForMaskedLM):
            decoder = ElectraForCausalLM(network.config)
        else:
            decoder = ModernBertDecoderForCausalLM(network.config)
    for name, module in network.named_children():
        setattr(decoder, name, module)
    return decoder
