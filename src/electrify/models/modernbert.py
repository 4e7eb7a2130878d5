"""The ModernBERT body: token ids to hidden states.

Pre-norm transformer encoder with rotary positions, gated feed-forward parts (GeGLU), no biases, and layers that look
either everywhere or only `local_attention // 2` tokens to each side (Warner et al. 2024, arXiv 2412.13663; rotary
positions: Su et al. 2021, arXiv 2104.09864). Parameter names are the published ones, so a state dict is a published
file. No dropout happens unless the inputs carry keys (`electrify.models.dropout`).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from electrify import kernels
from electrify.errors import ConfigError
from electrify.kernels.unpadded import Unpadded
from electrify.models import limits
from electrify.models.attention import Mask, Rotation, attention_mask, choose_layout
from electrify.models.blocks import gate_heads, gated_gelu, linear, project_add_norm, self_attention
from electrify.models.dropout import Dropout, layer_keys
from electrify.models.initialization import match_keys, truncated_normal
from electrify.models.inputs import Inputs

FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers, as published configs name them."""
EMBEDDING_SITE, HEAD_SITE = 0, 1
"""Dropout sites outside the layers."""
_ATTENTION_SITE, _ATTENTION_OUTPUT_SITE, _FEED_FORWARD_SITE = 0, 1, 2
"""Dropout sites inside a layer, whose keys already tell layers apart."""


@dataclass(frozen=True, kw_only=True)
class ModernBertConfig:
    """Sizes and settings of a ModernBERT body, with the published names and defaults (ModernBERT-base's).

    Raises:
        ConfigError: If a value is out of range or does not fit another.
    """

    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    """Width of the feed-forward part behind its gate; the matrix before it is twice as wide."""
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    hidden_activation: str = "gelu"
    """Only "gelu", the exact one (erf)."""
    max_position_embeddings: int = 8192
    """Longest row it is meant for, in tokens; nothing is sized by it."""
    initializer_range: float = 0.02
    """Standard deviation of the first values."""
    initializer_cutoff_factor: float = 2.0
    """Where their distribution is cut, in standard deviations."""
    norm_eps: float = 1e-5
    pad_token_id: int | None = 50283
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    cls_token_id: int | None = None
    sep_token_id: int | None = None
    attention_dropout: float = 0.0
    embedding_dropout: float = 0.0
    mlp_dropout: float = 0.0
    global_attn_every_n_layers: int = 3
    """Layer 0 and every n-th after it look everywhere, the others only around themselves."""
    layer_types: tuple[str, ...] | None = None
    """"full_attention" or "sliding_attention" for each layer; None means what `global_attn_every_n_layers` gives."""
    local_attention: int = 128
    """Width of the window of the other layers, in tokens, both sides together."""
    global_rope_theta: float = 160_000.0
    """Base of the rotary angles in layers that look everywhere."""
    local_rope_theta: float = 10_000.0
    """The same in the other layers."""
    classifier_pooling: Literal["cls", "mean"] = "cls"
    """What a row's classifier reads: its first token, or the mean of its real tokens."""
    classifier_dropout: float = 0.0
    attention_gate: bool = False
    """Whether each head's output is multiplied by a sigmoid of the token; not part of any published ModernBERT."""

    def __post_init__(self) -> None:
        limits.check_sizes(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            max_position_embeddings=self.max_position_embeddings,
            global_attn_every_n_layers=self.global_attn_every_n_layers,
            local_attention=self.local_attention,
        )
        limits.check_matrix("The word embedding", self.vocab_size, self.hidden_size)
        limits.check_matrix("The feed-forward matrix", 2 * self.intermediate_size, self.hidden_size)
        limits.check_matrix("The query, key and value matrix", 3 * self.hidden_size, self.hidden_size)
        limits.check_heads(self.hidden_size, self.num_attention_heads, is_rotary=True)
        limits.check_shares(
            attention_dropout=self.attention_dropout,
            embedding_dropout=self.embedding_dropout,
            mlp_dropout=self.mlp_dropout,
            classifier_dropout=self.classifier_dropout,
        )
        limits.check_positive(
            initializer_range=self.initializer_range,
            initializer_cutoff_factor=self.initializer_cutoff_factor,
            norm_eps=self.norm_eps,
            global_rope_theta=self.global_rope_theta,
            local_rope_theta=self.local_rope_theta,
        )
        limits.check_choice("hidden_activation", self.hidden_activation, known="gelu")
        limits.check_flags(attention_gate=self.attention_gate)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
            limits.check_token_id(name, getattr(self, name), vocab_size=self.vocab_size)
        if self.classifier_pooling not in ("cls", "mean"):
            raise ConfigError(f"classifier_pooling must be 'cls' or 'mean', got {self.classifier_pooling!r}.")
        self._check_layer_types()

    def _check_layer_types(self) -> None:
        types = self.attention_types
        if len(types) != self.num_hidden_layers:
            raise ConfigError(f"layer_types has {len(types)} entries for {self.num_hidden_layers} num_hidden_layers.")
        unknown = [kind for kind in types if kind not in (FULL, SLIDING)]
        if unknown:
            raise ConfigError(f"layer_types must be '{FULL}' or '{SLIDING}', got {unknown[0]!r}.")

    @property
    def own_parts(self) -> tuple[str, ...]:
        """Settings of parts that no published class has; such a network opens here alone."""
        return ("attention_gate",) if self.attention_gate else ()

    @property
    def attention_types(self) -> tuple[str, ...]:
        """The kind of each layer, lowest first."""
        if self.layer_types is not None:
            return self.layer_types
        every = self.global_attn_every_n_layers
        return tuple(SLIDING if index % every else FULL for index in range(self.num_hidden_layers))


class ModernBertModel(nn.Module):
    """The body without a head.

    Args:
        config: Its sizes. Parameters start as the original's: truncated normal, the matrices that write to the
            residual stream smaller by √(2L).
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.layers = nn.ModuleList([_Layer(config, is_first=i == 0) for i in range(config.num_hidden_layers)])
        self.final_norm = build_norm(config)
        self._initialize()

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, lowest first; each may be compiled by itself."""
        return self.layers

    @property
    def word_embeddings(self) -> nn.Embedding:
        """The table of word vectors, (V, H)."""
        return self.embeddings.tok_embeddings

    def match_keys(self, score: float) -> None:
        """Let equal tokens look at each other in all layers of a new body; `initialization.match_keys` says how."""
        for part in self.layers.modules():
            if isinstance(part, _Attention):
                queries, keys, _ = part.Wqkv.weight.chunk(3)
                match_keys(queries, keys, num_heads=part.num_heads, score=score)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the hidden states behind the last norm, (B, T, H); what stands at padding means nothing."""
        config, num_tokens = self.config, inputs.input_ids.shape[1]
        hidden: Tensor = self.embeddings(inputs)
        num_heads, window = config.num_attention_heads, config.local_attention // 2
        head_size = config.hidden_size // num_heads
        with kernels.left_to_compiler(self.blocks):
            layout = choose_layout(inputs, hidden, num_heads=num_heads, head_size=head_size)
            mask_of = partial(
                attention_mask,
                inputs,
                hidden,
                num_heads=num_heads,
                head_size=head_size,
                drop_prob=config.attention_dropout,
                layout=layout,
            )
            masks = {FULL: mask_of(), SLIDING: mask_of(window=window)}
        rotations = {
            FULL: rotation(num_tokens, head_size, theta=config.global_rope_theta, device=hidden.device),
            SLIDING: rotation(num_tokens, head_size, theta=config.local_rope_theta, device=hidden.device),
        }
        # Each layer norms the stream for the one that follows it, as adding and norming are one pass.
        norms = [*(layer.attn_norm for layer in list(self.layers)[1:]), self.final_norm]
        hidden = hidden if layout is None else layout.unpad(hidden)
        normed = hidden
        all_keys = layer_keys(inputs.dropout_keys, len(norms))
        for layer, kind, norm, keys in zip(self.layers, config.attention_types, norms, all_keys, strict=True):
            normed, hidden = layer(normed, hidden, norm, rotations[kind], masks[kind], keys)
        return normed if layout is None else layout.pad(normed)

    def _initialize(self) -> None:
        config = self.config
        cutoff = config.initializer_cutoff_factor
        truncated_normal(self.embeddings.tok_embeddings, std=config.initializer_range, cutoff=cutoff)
        for name, part in self.layers.named_modules():
            if isinstance(part, nn.Linear):
                std = residual_std(config) if name.endswith("Wo") else config.initializer_range
                truncated_normal(part, std=std, cutoff=cutoff)


def rotation(num_tokens: int, head_size: int, *, theta: float, device: torch.device) -> Rotation:
    """Return the cosines and sines by which positions 0 to T − 1 turn queries and keys.

    Pair i of a head of size D turns by position · θ^(−2i/D) (Su et al. 2021, section 3.2.2).

    Args:
        num_tokens: T.
        head_size: D, even.
        theta: Base θ of the angles.
        device: Where to put them.
    """
    pairs = torch.arange(0, head_size, 2, dtype=torch.float32, device=device) / head_size
    positions = torch.arange(num_tokens, dtype=torch.float32, device=device)
    angles = positions[:, None] * (1.0 / theta**pairs)  # (T, D / 2)
    return angles.cos(), angles.sin()


def residual_std(config: ModernBertConfig) -> float:
    """Return the standard deviation for matrices that write to the residual stream: initializer_range / √(2L)."""
    return config.initializer_range / math.sqrt(2 * config.num_hidden_layers)


def build_norm(config: ModernBertConfig) -> nn.LayerNorm:
    """Build a norm over the hidden size, without a bias."""
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)


class _Embeddings(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.norm = build_norm(config)
        self.drop = Dropout(config.embedding_dropout, EMBEDDING_SITE)

    def forward(self, inputs: Inputs) -> Tensor:
        normed: Tensor = self.drop(self.norm(self.tok_embeddings(inputs.input_ids)), inputs.dropout_keys)
        return normed


class _Layer(nn.Module):
    def __init__(self, config: ModernBertConfig, *, is_first: bool) -> None:
        super().__init__()
        # The embeddings end in a norm already.
        self.attn_norm = nn.Identity() if is_first else build_norm(config)
        self.attn = _Attention(config)
        self.mlp_norm = build_norm(config)
        self.mlp = _FeedForward(config)

    def forward(
        self, normed: Tensor, stream: Tensor, after: nn.Module, turn: Rotation, mask: Mask, keys: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        context = self.attn(normed, turn, mask, keys)
        normed, stream = project_add_norm(
            context, self.attn.Wo, stream, self.mlp_norm, dropout=self.attn.out_drop, keys=keys, layout=mask.layout
        )
        inner = self.mlp(normed, keys, mask.layout)
        return project_add_norm(inner, self.mlp.Wo, stream, after, dropout=None, keys=keys, layout=mask.layout)


class _Attention(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.gate = (
            nn.Linear(config.hidden_size, config.num_attention_heads, bias=False) if config.attention_gate else None
        )
        self.dropout = Dropout(config.attention_dropout, _ATTENTION_SITE)
        self.out_drop = Dropout(config.attention_dropout, _ATTENTION_OUTPUT_SITE)

    def forward(self, hidden: Tensor, turn: Rotation, mask: Mask, keys: Tensor | None) -> Tensor:
        """Return what `Wo` projects, (B, T, H)."""
        context = self_attention(
            hidden,
            self.Wqkv.weight,
            None,
            num_heads=self.num_heads,
            mask=mask,
            dropout=self.dropout,
            keys=keys,
            rotation=turn,
        )
        return context if self.gate is None else gate_heads(context, hidden, self.gate)


class _FeedForward(nn.Module):
    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.drop = Dropout(config.mlp_dropout, _FEED_FORWARD_SITE)

    def forward(self, hidden: Tensor, keys: Tensor | None, layout: Unpadded | None) -> Tensor:
        """Return what `Wo` projects, (B, T, F)."""
        return gated_gelu(linear(hidden, self.Wi), self.drop, keys, layout)
