"""How much each layer of an encoder knows: a linear classifier on its frozen hidden states, layer by layer.

Cheap, because the encoder runs once and nothing of it learns, so pre-trained models can be compared in a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.models.checkpoint import load_model, read_config, resolve_folder
from electrify.models.heads import BODIES, Body
from electrify.tasks.batches import Place, choose_place, make_batch, split_units
from electrify.tasks.classification import build
from electrify.tasks.judgement import require_sklearn
from electrify.tasks.kinds import Fields, read_part
from electrify.tasks.task import Encoded
from electrify.training.precision import autocast
from electrify.verbs.finetune import check_length

_TOKENS_AT_ONCE = 8_192
_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class LayerScore:
    """What one layer's states are worth."""

    layer: int
    """0 is the embeddings."""
    accuracy: float
    """On the validation part, with the strength of regularisation that is best there."""
    strength: float
    """scikit-learn's C."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All layers."""

    layers: list[LayerScore]
    best: LayerScore
    majority: float
    """Accuracy of always saying the label that is most frequent in training."""
    num_train: int
    num_validation: int


def probe(
    model: str | Path,
    *,
    train: str | Path,
    validation: str | Path,
    pooling: Literal["mean", "first"] = "mean",
    max_length: int = 128,
    fields: Fields | None = None,
    precision: str = "auto",
) -> ProbeReport:
    """Fit a linear classifier on each layer of a frozen encoder.

    Args:
        model: Published folder of any network with a body.
        train: Labelled texts or pairs.
        validation: The same, to measure on.
        pooling: What stands for a text: the mean of its tokens' states or its first token's.
        max_length: Longest row in tokens.
        fields: Names of the fields.
        precision: "auto", "bf16" or "fp32".

    Raises:
        ConfigError: If `max_length` leaves no room for a text.
        DataError: If a file cannot be used.
        CheckpointError: If the folder cannot be used.
    """
    require_sklearn()
    folder = resolve_folder(model)
    if max_length < 3:
        raise ConfigError(f"max_length must be at least 3 tokens, got {max_length}.")
    config = FinetuneConfig(max_length=max_length)
    check_length(folder, config)
    tokenizer = load_tokenizer(folder)
    body: Body = load_model(folder, BODIES[type(read_config(folder))])
    place = choose_place(precision, pad_id=tokenizer.pad_id)
    examples: dict[str, list[Example]] = {
        part: read_part("classification", path, fields=fields)
        for part, path in (("train", train), ("validation", validation))
    }
    task = build(examples["train"], config)
    parts = {part: task.encode(some, tokenizer, max_length=max_length) for part, some in examples.items()}
    states = {part: layer_states(body, encoded, place, pooling=pooling) for part, encoded in parts.items()}
    targets = {part: encoded.targets.numpy() for part, encoded in parts.items()}
    layers = [
        _fit(number, states["train"][number], targets["train"], states["validation"][number], targets["validation"])
        for number in range(len(states["train"]))
    ]
    most = np.bincount(targets["train"]).argmax()
    return ProbeReport(
        layers=layers,
        best=max(layers, key=lambda one: one.accuracy),
        majority=float((targets["validation"] == most).mean()),
        num_train=len(examples["train"]),
        num_validation=len(examples["validation"]),
    )


def layer_states(body: Body, encoded: Encoded, place: Place, *, pooling: str) -> list[np.ndarray]:
    """Return one vector an example for the embeddings and each layer, (N, H) float32 each."""
    body.to(place.device)
    seen: list[Tensor] = []

    def keep_input(_: nn.Module, arguments: Sequence[Any]) -> None:
        seen.append(arguments[0])

    def keep_output(_: nn.Module, __: Sequence[Any], output: Tensor | tuple[Tensor, Tensor]) -> None:
        # ModernBERT's layers also hand on what they read before it was normed, T5's what distances add to scores.
        seen.append(output[0] if isinstance(output, tuple) else output)

    hooks = [body.blocks[0].register_forward_pre_hook(keep_input)]
    hooks += [block.register_forward_hook(keep_output) for block in body.blocks]
    size = body.config.hidden_size
    result = [np.zeros((encoded.features.num_units, size), dtype=np.float32) for _ in range(len(body.blocks) + 1)]
    order = np.argsort(encoded.features.unit_lengths, kind="stable")[::-1].copy()
    try:
        with torch.no_grad(), autocast(place.device, place.dtype):
            for units in split_units(encoded.features, order, max_units=None, max_tokens=_TOKENS_AT_ONCE):
                seen.clear()
                batch = make_batch(encoded, units, place)
                body(replace(batch.inputs, keeps_padding=True))  # what layers hand on is read by rows
                for values, hidden in zip(result, seen, strict=True):
                    values[units] = _pool(hidden.float(), batch.inputs.attention_mask, pooling).cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return result


def _pool(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    if pooling == "first":
        return hidden[:, 0]
    if attention_mask is None:
        return hidden.mean(1)
    is_real = attention_mask[..., None].float()
    return (hidden * is_real).sum(1) / is_real.sum(1)


def _fit(
    layer: int, train: np.ndarray, targets: np.ndarray, held_out: np.ndarray, held_out_targets: np.ndarray
) -> LayerScore:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    for strength in _STRENGTHS:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_MAX_STEPS))
        classifier.fit(train, targets)
        scores.append(LayerScore(layer, float(classifier.score(held_out, held_out_targets)), strength))
    return max(scores, key=lambda one: one.accuracy)
