"""The stacks of T5: encoder and decoder, token ids to hidden states.

Pre-norm transformer with root-mean-square norms, no biases, and a learned bias on attention scores for each bucket of
distances between two tokens, computed in the first layer and used by all (Raffel et al. 2020, arXiv 1910.10683, section
2.1; gated feed-forward parts: Shazeer 2020, arXiv 2002.05202). Scores are not divided by √D: first values of the
queries' matrix make up for it. Parameter names are the published ones, so a state dict is a published file. No dropout
happens unless the inputs carry keys (`electrify.models.dropout`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.attention import Mask, attend, score_dtype
from electrify.models.blocks import linear
from electrify.models.dropout import Dropout, layer_keys
from electrify.models.inputs import Inputs
from electrify.models.relative import bias_by_distance
from electrify.models.t5_config import T5Config

EMBEDDING_SITE, FINAL_SITE, HEAD_SITE = 0, 1, 2
"""Dropout sites outside the layers."""
_ATTENTION_SITE, _ATTENTION_OUTPUT_SITE, _CROSS_SITE, _CROSS_OUTPUT_SITE = 0, 1, 2, 3
_FEED_FORWARD_SITE, _FEED_FORWARD_OUTPUT_SITE = 4, 5
"""Dropout sites inside a layer, whose keys already tell layers apart."""


class Read(NamedTuple):
    """What a decoder looks at."""

    states: Tensor
    """Of the encoder, (B, S, H)."""
    bias: Tensor | None
    """Added to the scores so that nobody looks at padding, (B, 1, 1, S); None if there is none."""


class T5Body(nn.Module):
    """The word table and the encoder: what a body with or without a decoder begins with."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, is_decoder=False)

    @property
    def word_embeddings(self) -> nn.Embedding:
        """The table of word vectors, (V, H)."""
        return self.shared

    @property
    def embeddings(self) -> nn.Embedding:
        """All that comes before the layers: the table alone."""
        return self.shared


class T5EncoderModel(T5Body):
    """The encoder alone: what is fine-tuned on labels, named as Transformers' class of that name."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        initialize_t5(self, config)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, lowest first; each may be compiled by itself."""
        return self.encoder.block

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the hidden states behind the last norm, (B, T, H)."""
        hidden: Tensor = self.encoder(self.shared(inputs.input_ids), inputs)
        return hidden


class T5Stack(nn.Module):
    """The layers of an encoder or a decoder.

    Args:
        config: Sizes.
        is_decoder: Whether it also looks at an encoder's states, and distances to what follows are all one class.
    """

    def __init__(self, config: T5Config, *, is_decoder: bool) -> None:
        super().__init__()
        num_layers = config.decoder_layers if is_decoder else config.num_layers
        self.block = nn.ModuleList(
            [_Block(config, is_decoder=is_decoder, has_bias=index == 0) for index in range(num_layers)]
        )
        self.final_layer_norm = _norm(config)
        self.embedding_drop = Dropout(config.dropout_rate, EMBEDDING_SITE)
        self.final_drop = Dropout(config.dropout_rate, FINAL_SITE)

    def forward(self, embedded: Tensor, inputs: Inputs, read: Read | None = None) -> Tensor:
        """Return the hidden states behind the last norm, (B, T, H).

        Args:
            embedded: Vectors of the tokens, (B, T, H).
            inputs: The batch; a decoder's are causal.
            read: What a decoder looks at; None for an encoder.
        """
        keys = inputs.dropout_keys
        hidden: Tensor = self.embedding_drop(embedded, keys)
        mask = inputs.attention_bias(score_dtype(hidden))
        bias: Tensor | None = None
        for block, block_keys in zip(self.block, layer_keys(keys, len(self.block)), strict=True):
            hidden, bias = block(hidden, bias, mask, read, block_keys)
        normed: Tensor = self.final_drop(self.final_layer_norm(hidden), keys)
        return normed


class _Block(nn.Module):
    def __init__(self, config: T5Config, *, is_decoder: bool, has_bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [_SelfAttention(config, is_decoder=is_decoder, has_bias=has_bias)]
        if is_decoder:
            layers.append(_CrossAttention(config))
        self.layer = nn.ModuleList([*layers, _FeedForward(config)])

    def forward(
        self, hidden: Tensor, bias: Tensor | None, mask: Tensor | None, read: Read | None, keys: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the stream and the bias on scores, which the first block makes for all."""
        if bias is None:  # made here and not outside, where a sharded block's parameters may not be looked at
            own = self.layer[0]
            assert isinstance(own, _SelfAttention)
            bias = own.SelfAttention.position_bias(hidden.shape[1]).to(score_dtype(hidden))
            bias = bias if mask is None else bias + mask
        hidden = self.layer[0](hidden, bias, keys)
        if read is not None:
            hidden = self.layer[1](hidden, read, keys)
        return self.layer[-1](hidden, keys), bias


class _SelfAttention(nn.Module):
    def __init__(self, config: T5Config, *, is_decoder: bool, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = _Attention(config, _ATTENTION_SITE, is_decoder=is_decoder, has_bias=has_bias)
        self.layer_norm = _norm(config)
        self.drop = Dropout(config.dropout_rate, _ATTENTION_OUTPUT_SITE)

    def forward(self, hidden: Tensor, bias: Tensor, keys: Tensor | None) -> Tensor:
        normed = self.layer_norm(hidden)
        added: Tensor = self.drop(self.SelfAttention(normed, normed, bias, keys), keys)
        return hidden + added


class _CrossAttention(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.EncDecAttention = _Attention(config, _CROSS_SITE)
        self.layer_norm = _norm(config)
        self.drop = Dropout(config.dropout_rate, _CROSS_OUTPUT_SITE)

    def forward(self, hidden: Tensor, read: Read, keys: Tensor | None) -> Tensor:
        context = self.EncDecAttention(self.layer_norm(hidden), read.states, read.bias, keys)
        added: Tensor = self.drop(context, keys)
        return hidden + added


class _Attention(nn.Module):
    def __init__(self, config: T5Config, site: int, *, is_decoder: bool = False, has_bias: bool = False) -> None:
        super().__init__()
        self.config = config
        self.is_decoder = is_decoder
        inner = config.inner_size
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)
        self.dropout = Dropout(config.dropout_rate, site)

    def position_bias(self, num_tokens: int) -> Tensor:
        """Return what distances add to the scores, (1, A, T, T)."""
        farthest = self.config.relative_attention_max_distance
        table = self.relative_attention_bias
        return bias_by_distance(table, num_tokens, farthest=farthest, looks_back=self.is_decoder)

    def forward(self, hidden: Tensor, read: Tensor, bias: Tensor | None, keys: Tensor | None) -> Tensor:
        """Return (B, T, H) for what asks, (B, T, H), and what is asked, (B, S, H)."""
        query, key, value = (
            linear(source, layer).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)  # (B, A, T or S, D)
            for source, layer in ((hidden, self.q), (read, self.k), (read, self.v))
        )
        mask = Mask(is_native=False, bias=bias)
        context = attend(query, key, value, mask=mask, dropout=self.dropout, keys=keys, scale=1.0)
        return linear(context.transpose(1, 2).flatten(2), self.o)


class _FeedForward(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = (_GatedDense if config.is_gated else _Dense)(config)
        self.layer_norm = _norm(config)
        self.drop = Dropout(config.dropout_rate, _FEED_FORWARD_OUTPUT_SITE)

    def forward(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        added: Tensor = self.drop(self.DenseReluDense(self.layer_norm(hidden), keys), keys)
        return hidden + added


class _Dense(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.drop = Dropout(config.dropout_rate, _FEED_FORWARD_SITE)

    def forward(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        return linear(self.drop(F.relu(linear(hidden, self.wi)), keys), self.wo)


class _GatedDense(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.drop = Dropout(config.dropout_rate, _FEED_FORWARD_SITE)

    def forward(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        values = F.gelu(linear(hidden, self.wi_0), approximate="tanh")
        return linear(self.drop(values * linear(hidden, self.wi_1), keys), self.wo)


@torch.no_grad()
def initialize_t5(module: nn.Module, config: T5Config) -> None:
    """Draw first values for all parameters of T5's parts in a module, from torch's global generator.

    Standard deviations are those of the published code (Mesh TensorFlow's), times `initializer_factor`: 1 for the word
    table, 1/√(fan in) for matrices, and 1/√D of that for the queries'.
    """
    stream = config.d_model**-0.5
    stds = {"q": stream * config.d_kv**-0.5, "o": config.inner_size**-0.5, "wo": config.d_ff**-0.5, "shared": 1.0}
    for name, part in module.named_modules():
        if isinstance(part, nn.RMSNorm):
            nn.init.constant_(part.weight, config.initializer_factor)
        elif isinstance(part, nn.Linear | nn.Embedding):
            std = stds.get(name.rpartition(".")[2], stream)
            nn.init.normal_(part.weight, std=config.initializer_factor * std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)


def _norm(config: T5Config) -> nn.RMSNorm:
    return nn.RMSNorm(config.d_model, eps=config.layer_norm_epsilon)
