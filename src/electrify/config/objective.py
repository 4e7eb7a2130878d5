"""Settings of what is trained: networks, masking, objective."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from electrify.config.section import NotNegative, OpenShare, Positive, Probability, Rate, Section, Share


class ModelConfig(Section):
    """The networks. Of two, the sizes are those of the one that is fine-tuned later; generator_* are of the other."""

    body: Literal["electra", "modernbert"] = "modernbert"
    """Kind of network: "electra", as published, or "modernbert" (pre-norm, rotary positions, GeGLU); span has T5's."""
    hidden_size: Positive = 128
    """Width of the discriminator, or of what stands in its place."""
    num_layers: Positive = 4
    """Its layers."""
    num_heads: Positive = 2
    """Its attention heads; must divide hidden_size."""
    intermediate_size: Positive = 512
    """Width inside the feed-forward layers."""
    embedding_size: Positive | None = None
    """Width of the token embeddings; hidden_size if not given. The modernbert body has no other."""
    max_positions: Positive = 512
    """Longest input in tokens that the published model takes."""
    dropout: Probability = 0.0
    """Share of hidden units dropped in all networks."""
    attention_dropout: Probability = 0.0
    """Share of attention weights dropped in all networks."""
    local_attention: Positive = 128
    """modernbert: tokens that a local layer sees around each token, both sides together."""
    global_attention_every: Positive = 3
    """modernbert: every n-th layer sees the whole input, beginning with the first."""
    global_rope_theta: Rate = 160_000.0
    """modernbert: base of the rotary angles in layers that see the whole input; raised for longer inputs."""
    local_rope_theta: Rate = 10_000.0
    """modernbert: the same in local layers, whose reach stays the same however long the input is."""
    attention_gate: bool = False
    """Whether each head's output is multiplied by a sigmoid of the token (docs/recipes.md); opens here alone."""
    relative_bias: bool = False
    """electra: whether attention adds a learned number by distance, as T5's, to its scores; opens here alone."""
    layer_std: Rate | None = None
    """Standard deviation of the matrices inside layers at first, 0.02 if not given; not of span."""
    attention_match: Annotated[float, Field(ge=0, le=30)] = 0.0
    """Score that equal tokens give each other at first in half of the heads; 0 starts keys at random; not of span."""
    layers_alike: bool = False
    """Whether all layers of a network have one set of weights (ALBERT); published as plain layers."""
    generator_hidden_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Kinds with a generator: its width, feed-forward width and heads, relative to the discriminator."""
    generator_layer_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Kinds with a generator: its layers, relative to the discriminator."""
    embedding_sharing: Literal["none", "word", "all", "gdes"] = "word"
    """Kinds with a generator: none, the words, all of the block, or "gdes": the generator's words and a difference."""
    embedding_init: Literal["normal", "cooccurrence"] = "normal"
    """How token embeddings start: "normal" at random, "cooccurrence" from which tokens stand near which in the data."""
    embedding_std: Rate | None = None
    """Standard deviation of token embeddings at first, 0.02 if not given; larger ones keep more of it; not of span."""
    share_layers: bool = False
    """Kinds with a generator: whether its layers are the discriminator's lowest; needs generator_hidden_ratio = 1."""
    head_init: Literal["normal", "glorot"] = "normal"
    """electra body, kinds that detect: how the discriminator's last layer starts; "glorot" as the original's code."""
    decoder_layer_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """span: layers of the decoder, relative to the encoder."""
    feed_forward: Literal["gated-gelu", "relu"] = "gated-gelu"
    """span: feed-forward layers of T5 v1.1 or of T5."""
    output_matrix: Literal["tied", "own"] = "tied"
    """span: whether words are scored with their embeddings, as in T5, or with a matrix of its own, as in T5 v1.1."""


class MaskingConfig(Section):
    """Which tokens have to be filled in, by the generator where there is one; clm fills in none."""

    mask_prob: OpenShare = 0.15
    """Share of tokens chosen in each row."""
    mask_prob_end: OpenShare | None = None
    """Share at the end of the run, to which it moves on a line; it stays the same if not given."""
    mask_token_prob: Share = 0.85
    """Of those, share shown as [MASK]."""
    random_token_prob: Share = 0.0
    """Of those, share shown as a random token (BERT: 0.1, with mask_token_prob = 0.8); the rest keep their token."""
    unit: Literal["token", "word", "span"] = "token"
    """What is chosen together: single tokens, whole words, or spans of words (SpanBERT); counts are exact in all."""
    span_stop_prob: OpenShare = 0.2
    """span: probability that a span ends after each of its words."""
    max_span_words: Positive = 10
    """span: most words of a span."""
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.0
    """objective span: mean tokens of a hidden span; unit and what is shown in its place mean nothing there."""
    adaptive: Share = 0.0
    """How far tokens that are hard to predict are preferred: 0 not at all, 1 in proportion to their mean loss."""
    share_of: Literal["candidates", "all_tokens"] = "candidates"
    """What the share is taken of: tokens that may be chosen, or all including [CLS] and [SEP] (as the original)."""
    draw: Literal["distinct", "with_replacement"] = "distinct"
    """Draw distinct positions, or with replacement as the original's code (twice-drawn positions get averaged ids)."""

    @field_validator("random_token_prob")
    @classmethod
    def _fits(cls, value: float, info: ValidationInfo) -> float:
        shown = info.data.get("mask_token_prob", 0.0)
        if value + shown > 1 + 1e-9:
            raise PydanticCustomError(
                "shares", "Input should be at most 1 - mask_token_prob = {rest}", {"rest": f"{1 - shown:g}"}
            )
        return value


class ObjectiveConfig(Section):
    """The loss and the sampling."""

    kind: Literal[
        "rtd",
        "contrastive",
        "halves",
        "mlm",
        "clm",
        "span",
        "hybrid",
        "electric",
        "electra-15",
        "replace-mlm",
        "all-tokens-mlm",
    ] = "rtd"
    """What is trained: "rtd" (ELECTRA), "mlm" (BERT), "clm" (GPT), "span" (T5), and others: docs/objectives.md."""
    gen_weight: NotNegative = 1.0
    """Kinds with a generator, electric: weight of its loss, or of the noise model's."""
    disc_weight: NotNegative = 50.0
    """Kinds that detect, electric: weight of the discriminator's or scorer's loss."""
    disc_weight_start: NotNegative | None = None
    """Kinds that detect: the weight at the start, from which it moves on a line; it stays the same if not given."""
    encoder_weight: NotNegative = 1.0
    """replace-mlm, all-tokens-mlm: weight of the encoder's loss."""
    z_loss: NotNegative = 0.0
    """All but electric and span: weight of the squared log of the vocabulary softmax's denominator, beside its loss."""
    causal_share: OpenShare = 0.0625
    """hybrid: share of rows that are read from left to right, and weight of their loss; one in 16 as GPT-BERT."""
    copy_share: Probability = 0.0
    """span: share of rows that are shown whole and have to be repeated, and weight of their loss."""
    contrast_weight: NotNegative = 1.0
    """contrastive: weight of the loss that tells the two views of a row from those of other rows."""
    contrast_temperature: Rate = 0.1
    """contrastive: what cosines between views are divided by."""
    crop_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    """contrastive: share of a row's tokens, in one stretch, that its cropped view keeps."""
    halves_weight: NotNegative = 1.0
    """halves: weight of the loss on whether a row's halves belong together."""
    pooling: Literal["mean", "cls"] = "mean"
    """contrastive, halves: what a row's vector is, the mean of its hidden states or the first one."""
    temperature: Rate = 1.0
    """Kinds with a generator: temperature at which it is sampled; below 1 is sharper."""
    temperature_start: Rate | None = None
    """Kinds with a generator: the temperature at the start, which moves by a constant factor; the same if not given."""
    exclude_original: bool = False
    """Kinds with a generator: whether the original token can not be drawn."""
    generator_dropout: bool = True
    """Kinds with a generator: whether dropout is in its pass, from which the samples come too."""
    freeze_generator: bool = False
    """Kinds that detect: whether a generator from init_from stays as it is (Fast-ELECTRA)."""
