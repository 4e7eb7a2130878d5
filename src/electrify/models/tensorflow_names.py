"""The two networks of an original ELECTRA checkpoint: which tensor is which parameter, and what sizes they tell.

Names and layout are those of google-research/electra (model/modeling.py, run_pretraining.py): the discriminator's
body is under `electra`, the generator's under `generator`, heads under `…_predictions`.
A generator without `generator/embeddings` uses the discriminator's whole block; one without `generator` at all is the
discriminator's body with another head. Matrices lie there as (in, out), here as (out, in). Sizes follow from shapes,
except the number of heads, which no tensor tells.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from electrify.errors import CheckpointError, ConfigError
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import ElectraForMaskedLM, ElectraForPreTraining
from electrify.models.matching import listed
from electrify.models.tensorflow_bundle import BundleTensor, read_bundle_tensor

HEAD_SIZE = 64
"""Width of an attention head in every published size (util/training_utils.py)."""
_LAYER = re.compile(r"encoder/layer_(\d{1,6})/")
_NORM = {"weight": "gamma", "bias": "beta"}
_LINEAR = {"weight": "kernel", "bias": "bias"}
_SPECIAL = {
    "generator_lm_head.bias": "generator_predictions/output_bias",
    "discriminator_predictions.dense_prediction.weight": "discriminator_predictions/dense_1/kernel",
    "discriminator_predictions.dense_prediction.bias": "discriminator_predictions/dense_1/bias",
}
_ELECTRIC = ("cloze_predictions/", "generator_ltr/", "generator_rtl/")
_DISCRIMINATOR, _GENERATOR = "electra", "generator"

ElectraNetwork = TypeVar("ElectraNetwork", ElectraModel, ElectraForMaskedLM, ElectraForPreTraining)
Tensors = Mapping[str, BundleTensor]


@dataclass(frozen=True, slots=True)
class Pair:
    """What a checkpoint holds; None where it does not."""

    discriminator: ElectraForPreTraining | ElectraModel | None
    """A bare body if the checkpoint has no head for it."""
    generator: ElectraForMaskedLM | None


def read_pair(tensors: Tensors, *, num_heads: int | None = None, pad_token_id: int = 0) -> Pair:
    """Build the networks of a checkpoint, in float32.

    Names and shapes are compared before anything is allocated.

    Args:
        tensors: What `read_bundle` returned; Adam's means and counters among them are left alone.
        num_heads: Attention heads of the discriminator; None means one for each 64 units of width. The generator always
            has the latter, as in the original.
        pad_token_id: Id of [PAD] in the vocabulary.

    Raises:
        CheckpointError: If it is no ELECTRA checkpoint, or tensors are missing, damaged, or do not fit each other.
    """
    if any(name.startswith(_ELECTRIC) for name in tensors):
        raise CheckpointError("The checkpoint is one of Electric, whose networks are others; ELECTRA's are supported.")
    has_generator_head = "generator_predictions/output_bias" in tensors
    has_discriminator_head = "discriminator_predictions/dense_1/kernel" in tensors
    has_own_layers = any(name.startswith(f"{_GENERATOR}/encoder/") for name in tensors)
    discriminator: ElectraForPreTraining | ElectraModel | None = None
    generator = None
    if has_discriminator_head or not has_generator_head or has_own_layers:
        config = _read_sizes(tensors, _DISCRIMINATOR, num_heads, pad_token_id)
        if has_discriminator_head:
            discriminator = _build(ElectraForPreTraining, config, tensors, body=_DISCRIMINATOR)
        else:
            discriminator = _build(ElectraModel, config, tensors, body=_DISCRIMINATOR)
    if has_generator_head:
        body = _GENERATOR if has_own_layers else _DISCRIMINATOR
        config = _read_sizes(tensors, body, None if has_own_layers else num_heads, pad_token_id)
        generator = _build(ElectraForMaskedLM, config, tensors, body=body)
    return Pair(discriminator, generator)


def _read_sizes(tensors: Tensors, body: str, num_heads: int | None, pad_token_id: int) -> ElectraConfig:
    embeddings = f"{_embeddings_of(tensors, body)}/embeddings"
    vocab_size, embedding_size = _shape(tensors, f"{embeddings}/word_embeddings", 2)
    max_positions, _ = _shape(tensors, f"{embeddings}/position_embeddings", 2)
    num_types, _ = _shape(tensors, f"{embeddings}/token_type_embeddings", 2)
    hidden_size, intermediate_size = _shape(tensors, f"{body}/encoder/layer_0/intermediate/dense/kernel", 2)
    numbers = {
        int(found[1]) for name in tensors if name.startswith(f"{body}/") and (found := _LAYER.search(name)) is not None
    }
    try:
        return ElectraConfig(
            vocab_size=vocab_size,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_hidden_layers=max(numbers) + 1,
            num_attention_heads=max(1, hidden_size // HEAD_SIZE) if num_heads is None else num_heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=max_positions,
            type_vocab_size=num_types,
            pad_token_id=pad_token_id,
        )
    except ConfigError as problem:
        raise CheckpointError(f"The checkpoint's {body} network: {problem}") from None


def _embeddings_of(tensors: Tensors, body: str) -> str:
    return body if f"{body}/embeddings/word_embeddings" in tensors else _DISCRIMINATOR


def _shape(tensors: Tensors, name: str, num_dimensions: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(
            f"The checkpoint has no tensor '{name}', so it is not one of the original ELECTRA code (it has "
            f"{listed(tensors) or 'none'})."
        )
    shape = tensors[name].shape
    if len(shape) != num_dimensions:
        raise CheckpointError(
            f"{tensors[name].path}: tensor '{name}' is {list(shape)}, not {num_dimensions}-dimensional."
        )
    return shape


def _build(network: type[ElectraNetwork], config: ElectraConfig, tensors: Tensors, *, body: str) -> ElectraNetwork:
    with torch.device("meta"):
        model = network(config)
    sources = {name: _source(name, tensors, body) for name, _ in model.named_parameters()}
    missing = [source for source in sources.values() if source not in tensors]
    if missing:
        raise CheckpointError(f"The checkpoint lacks tensors of its {body} network: {listed(missing)}.")
    for name, parameter in model.named_parameters():
        tensor = tensors[sources[name]]
        shape = tensor.shape[::-1] if _is_turned(sources[name]) else tensor.shape
        if shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{tensor.path}: tensor '{tensor.name}' is {list(tensor.shape)}, which does not fit the other tensors."
            )
        if not tensor.dtype.is_floating_point:
            raise CheckpointError(f"{tensor.path}: tensor '{tensor.name}' holds whole numbers.")
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[sources[name]]
            values = read_bundle_tensor(tensor).float()
            if not torch.isfinite(values).all():
                raise CheckpointError(
                    f"{tensor.path}: tensor '{tensor.name}' holds values that are not finite in float32."
                )
            parameter.copy_(values.T if _is_turned(sources[name]) else values)
    return model


def _is_turned(source: str) -> bool:
    return source.endswith("/kernel")


def _source(name: str, tensors: Tensors, body: str) -> str:
    """Return the checkpoint's name of a parameter."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    is_of_body = not name.startswith(("generator_predictions.", "discriminator_predictions."))
    path, _, last = name.removeprefix("electra.").rpartition(".")
    path = re.sub(r"encoder\.layer\.(\d+)", r"encoder.layer_\1", path).replace(".", "/")
    if is_of_body:
        scope = _embeddings_of(tensors, body) if path.startswith("embeddings/") else body
        path = f"{scope}/{path}"
    if path.endswith("_embeddings"):
        return path
    return f"{path}/{(_NORM if path.endswith('LayerNorm') else _LINEAR)[last]}"
