"""One row of scores for each unit: what classification, regression and ranking have in common."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError
from electrify.models.heads import SequenceClassifier, TaskNetwork, TokenClassifier
from electrify.tasks.features import Features, encode_examples, encode_windows
from electrify.tasks.task import Batch, Head


def encode_texts(
    examples: Sequence[Example], tokenizer: Tokenizer, config: FinetuneConfig, *, max_length: int
) -> Features:
    """Encode texts, cut or in windows.

    Raises:
        ConfigError: If windows are asked for and there are pairs.
    """
    if config.long_texts == "cut":
        return encode_examples(examples, tokenizer, max_length=max_length)
    if any(example.text_b is not None for example in examples):
        raise ConfigError(f"long_texts = '{config.long_texts}' takes single texts, and there are pairs. Use 'cut'.")
    return encode_windows(examples, tokenizer, max_length=max_length, overlap=config.window_overlap)


def unit_logits(network: TaskNetwork, batch: Batch, config: FinetuneConfig) -> Tensor:
    """Return the scores of each unit, (U, C) float32.

    Args:
        network: A sequence classifier, or a token classifier whose first token stands for the row: ELECTRA's own head,
            dropout and one layer (Clark et al. 2020, code).
        batch: Rows and the units they belong to.
        config: `long_texts` says what is averaged over the windows of a unit: their logits or what the head reads.
    """
    if isinstance(network, TokenClassifier):
        first: Tensor = network(batch.inputs)[:, 0]
        return _mean_by_unit(first, batch).float()
    assert isinstance(network, SequenceClassifier)
    if config.long_texts != "hidden":
        return _mean_by_unit(network(batch.inputs), batch).float()
    keys = batch.inputs.dropout_keys
    if keys is not None:  # the head drops once a unit: with the key of its first row
        is_first = torch.from_numpy(np.isin(batch.rows, batch.encoded.features.starts[batch.units]))
        keys = keys[is_first.to(keys.device)]
    return network.classify(_mean_by_unit(network.pooled(batch.inputs), batch), keys).float()


def unit_outputs(network: TaskNetwork, batch: Batch, config: FinetuneConfig) -> list[np.ndarray]:
    """Return the scores of each unit as an array of its own, (C,) float32."""
    return list(unit_logits(network, batch, config).cpu().numpy())


def sequence_head(config: FinetuneConfig) -> Head:
    """Return which network gives one row of scores a unit."""
    return "sequence" if config.head == "transformers" else "first_token"


def _mean_by_unit(values: Tensor, batch: Batch) -> Tensor:
    """Return the mean over the rows of each unit, (U, …), for (B, …)."""
    if len(batch.rows) == len(batch.units):
        return values
    unit_of_row = batch.unit_of_row
    summed = torch.zeros(len(batch.units), *values.shape[1:], dtype=torch.float32, device=values.device)
    summed = summed.index_add(0, unit_of_row, values.float())
    counts = torch.bincount(unit_of_row, minlength=len(batch.units)).clamp(min=1)
    return summed / counts[:, None]
