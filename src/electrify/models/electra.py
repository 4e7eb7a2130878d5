"""The ELECTRA body: token ids to hidden states.

Post-norm transformer encoder with learned positions (Clark et al. 2020, arXiv 2003.10555; the layers are BERT's). The
embeddings may be narrower than the layers; a projection then joins them. Parameter names are the published ones, so a
state dict is a published file. No dropout happens unless the inputs carry keys (`electrify.models.dropout`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from electrify import kernels
from electrify.models import limits
from electrify.models.attention import Mask, attention_mask, choose_layout
from electrify.models.blocks import gate_heads, linear_gelu, project_add_norm, self_attention
from electrify.models.dropout import Dropout, layer_keys
from electrify.models.initialization import match_keys, truncated_normal
from electrify.models.inputs import Inputs
from electrify.models.relative import RelativeBias

EMBEDDING_SITE, HEAD_SITE, HEAD_OUTPUT_SITE = 0, 1, 2
"""Dropout sites outside the layers."""
_ATTENTION_SITE, _ATTENTION_OUTPUT_SITE, _FEED_FORWARD_SITE = 0, 1, 2
"""Dropout sites inside a layer, whose keys already tell layers apart."""


@dataclass(frozen=True, kw_only=True)
class ElectraConfig:
    """Sizes and settings of an ELECTRA body, with the published names and defaults (ELECTRA-Small's).

    Raises:
        ConfigError: If a value is out of range or does not fit another.
    """

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    """Width of the feed-forward part."""
    hidden_act: str = "gelu"
    """Only "gelu", the exact one (erf)."""
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    """Longest row, in tokens."""
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    """Standard deviation of the first values."""
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    """Dropout of classification heads; None means `hidden_dropout_prob`."""
    attention_gate: bool = False
    """Whether each head's output is multiplied by a sigmoid of the token; not part of any published ELECTRA."""
    relative_bias: bool = False
    """Whether attention adds a learned number by distance, beside the learned positions; not part of any either."""

    def __post_init__(self) -> None:
        limits.check_sizes(
            vocab_size=self.vocab_size,
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.max_position_embeddings,
            type_vocab_size=self.type_vocab_size,
        )
        limits.check_matrix("The word embedding", self.vocab_size, self.embedding_size)
        limits.check_matrix("The position embedding", self.max_position_embeddings, self.embedding_size)
        limits.check_matrix("The feed-forward matrix", self.intermediate_size, self.hidden_size)
        limits.check_matrix("The query, key and value matrix", 3 * self.hidden_size, self.hidden_size)
        limits.check_heads(self.hidden_size, self.num_attention_heads, is_rotary=False)
        limits.check_shares(
            hidden_dropout_prob=self.hidden_dropout_prob,
            attention_probs_dropout_prob=self.attention_probs_dropout_prob,
            classifier_dropout=self.head_dropout_prob,
        )
        limits.check_positive(initializer_range=self.initializer_range, layer_norm_eps=self.layer_norm_eps)
        limits.check_token_id("pad_token_id", self.pad_token_id, vocab_size=self.vocab_size)
        limits.check_choice("hidden_act", self.hidden_act, known="gelu")
        limits.check_flags(attention_gate=self.attention_gate, relative_bias=self.relative_bias)

    @property
    def own_parts(self) -> tuple[str, ...]:
        """Settings of parts that no published class has; such a network opens here alone."""
        return tuple(name for name in ("attention_gate", "relative_bias") if getattr(self, name))

    @property
    def head_dropout_prob(self) -> float:
        """Dropout rate of classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


class ElectraModel(nn.Module):
    """The body without a head.

    Args:
        config: Its sizes. Parameters start as the original's: truncated normal, biases 0, the padding row 0.
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        if config.embedding_size != config.hidden_size:
            self.embeddings_project: nn.Linear | None = nn.Linear(config.embedding_size, config.hidden_size)
        else:
            self.embeddings_project = None
        self.encoder = _Encoder(config)
        initialize_electra(self, config)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, lowest first; each may be compiled by itself."""
        return self.encoder.layer

    @property
    def word_embeddings(self) -> nn.Embedding:
        """The table of word vectors, (V, E)."""
        return self.embeddings.word_embeddings

    def match_keys(self, score: float) -> None:
        """Let equal tokens look at each other in all layers of a new body; `initialization.match_keys` says how."""
        for part in self.encoder.modules():
            if isinstance(part, _SelfAttention):
                match_keys(part.query.weight, part.key.weight, num_heads=part.num_heads, score=score)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the hidden states of the last layer, (B, T, H); what stands at padding means nothing.

        Raises:
            ValueError: If a row is longer than `max_position_embeddings`.
        """
        hidden: Tensor = self.embeddings(inputs)  # (B, T, E)
        if self.embeddings_project is not None:
            hidden = self.embeddings_project(hidden)  # (B, T, H)
        config = self.config
        heads = {
            "num_heads": config.num_attention_heads,
            "head_size": config.hidden_size // config.num_attention_heads,
        }
        bias = self.encoder.relative_bias
        with kernels.left_to_compiler(self.blocks):
            layout = None if bias is not None else choose_layout(inputs, hidden, **heads)
            mask = attention_mask(
                inputs,
                hidden,
                **heads,
                drop_prob=config.attention_probs_dropout_prob,
                added=None if bias is None else bias(inputs.input_ids.shape[1]),
                layout=layout,
            )
        hidden = hidden if layout is None else layout.unpad(hidden)
        for layer, keys in zip(self.encoder.layer, layer_keys(inputs.dropout_keys, len(self.blocks)), strict=True):
            hidden = layer(hidden, mask, keys)
        return hidden if layout is None else layout.pad(hidden)


def initialize_electra(module: nn.Module, config: ElectraConfig) -> None:
    """Draw new values for every parameter of an ELECTRA network or a part of one, in place."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            truncated_normal(part, std=config.initializer_range)
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            with torch.no_grad():
                part.weight[part.padding_idx].zero_()


class _Embeddings(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob, EMBEDDING_SITE)

    def forward(self, inputs: Inputs) -> Tensor:
        num_tokens = inputs.input_ids.shape[1]
        highest = self.position_embeddings.weight.shape[0]
        if num_tokens > highest:
            raise ValueError(f"a row has {num_tokens} tokens, but max_position_embeddings is {highest}")
        places = self.position_embeddings.weight[:num_tokens]  # (T, E)
        if inputs.token_type_ids is None:
            places = places + self.token_type_embeddings.weight[0]
        else:
            places = places + self.token_type_embeddings(inputs.token_type_ids)  # (B, T, E)
        summed = self.word_embeddings(inputs.input_ids) + places
        normed: Tensor = self.dropout(self.LayerNorm(summed), inputs.dropout_keys)
        return normed


class _Encoder(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])
        self.relative_bias = RelativeBias(config.num_attention_heads) if config.relative_bias else None


class _Layer(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config, site=_FEED_FORWARD_SITE)

    def forward(self, hidden: Tensor, mask: Mask, keys: Tensor | None) -> Tensor:
        hidden = self.attention(hidden, mask, keys)
        result: Tensor = self.output(self.intermediate(hidden), hidden, mask, keys)
        return result


class _Attention(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.hidden_size, config, site=_ATTENTION_OUTPUT_SITE)

    def forward(self, hidden: Tensor, mask: Mask, keys: Tensor | None) -> Tensor:
        result: Tensor = self.output(self.self(hidden, mask, keys), hidden, mask, keys)
        return result


class _SelfAttention(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.gate = nn.Linear(config.hidden_size, config.num_attention_heads) if config.attention_gate else None
        self.dropout = Dropout(config.attention_probs_dropout_prob, _ATTENTION_SITE)

    def forward(self, hidden: Tensor, mask: Mask, keys: Tensor | None) -> Tensor:
        # One product of three times the width is faster than three; copying the weights together costs little.
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight])  # (3H, H)
        offset = torch.cat([self.query.bias, self.key.bias, self.value.bias])
        context = self_attention(
            hidden, weight, offset, num_heads=self.num_heads, mask=mask, dropout=self.dropout, keys=keys
        )
        return context if self.gate is None else gate_heads(context, hidden, self.gate)


class _Intermediate(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return linear_gelu(hidden, self.dense)


class _Output(nn.Module):
    def __init__(self, in_size: int, config: ElectraConfig, *, site: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob, site)

    def forward(self, hidden: Tensor, residual: Tensor, mask: Mask, keys: Tensor | None) -> Tensor:
        return project_add_norm(
            hidden, self.dense, residual, self.LayerNorm, dropout=self.dropout, keys=keys, layout=mask.layout
        )[0]
