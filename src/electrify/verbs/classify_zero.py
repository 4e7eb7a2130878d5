"""Classify without training: the discriminator says which label's word looks least replaced in a template.

Source: Xia et al. 2022, "Prompting ELECTRA" (arXiv 2205.15223). For each label its word is put into the template behind
the text, and the discriminator's mean logit of "replaced" over the word's tokens is taken; the lowest wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from electrify.data.labelled import Example
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.models.checkpoint import resolve_folder
from electrify.tasks.batches import choose_place, split_units
from electrify.tasks.classification import Prediction, formula
from electrify.tasks.features import Features, batch_inputs
from electrify.tasks.judgement import Judgement
from electrify.training.precision import autocast
from electrify.verbs.loading import load_discriminator

TEXT, LABEL = "{text}", "{label}"
_TOKENS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class ZeroResult:
    """What was predicted, and how good it is where the labels are known."""

    predictions: list[Prediction]
    metrics: dict[str, float] | None
    """None if an example has no label."""
    num_cut_examples: int


def classify_zero(
    discriminator: str | Path,
    examples: Sequence[Example],
    *,
    words: Mapping[str, str],
    template: str = f"{TEXT} It was {LABEL} .",
    centre: bool = False,
    max_length: int = 128,
    precision: str = "auto",
) -> ZeroResult:
    """Predict the label of every example by how little its word looks replaced.

    Args:
        discriminator: A token detector's folder.
        examples: Texts; of pairs, the second follows the first.
        words: A word or phrase for each label, such as {"positive": "great", "negative": "terrible"}.
        template: Holds "{text}" and, behind or before it, "{label}".
        centre: Subtract each label's mean score over all examples, so that a word that looks odd everywhere is not at a
            disadvantage. It takes for granted that labels are about equally frequent.
        max_length: Longest row in tokens; the text is cut, never the template.
        precision: "auto", "bf16" or "fp32".

    Raises:
        ConfigError: If the template or the words cannot be used.
        CheckpointError: If the folder holds no token detector.
    """
    _check(words, template)
    folder = resolve_folder(discriminator)
    network, tokenizer = load_discriminator(folder), load_tokenizer(folder)
    place = choose_place(precision, pad_id=tokenizer.pad_id)
    features, spans, num_cut = _encode(examples, tokenizer, words, template, max_length)
    scores = np.zeros(len(features.ids))
    network.to(place.device)
    order = np.argsort(features.unit_lengths, kind="stable")[::-1].copy()
    with torch.no_grad(), autocast(place.device, place.dtype):
        for rows in split_units(features, order, max_units=None, max_tokens=_TOKENS_AT_ONCE):
            inputs = batch_inputs(features, rows, pad_id=place.pad_id, device=place.device)
            logits = network(inputs).float().cpu().numpy()
            for row, values in zip(rows, logits, strict=True):
                start, end = spans[row]
                scores[row] = -values[start:end].mean()
    table = scores.reshape(len(examples), len(words))  # higher: less replaced
    if centre:
        table = table - table.mean(0)
    return _result(table, list(words), examples, num_cut)


def _check(words: Mapping[str, str], template: str) -> None:
    if template.count(TEXT) != 1 or template.count(LABEL) != 1:
        raise ConfigError(f"template must hold {TEXT} and {LABEL} once each, got {template!r}.")
    if len(words) < 2 or not all(word.strip() for word in words.values()):
        raise ConfigError("words: two labels or more, each with a word. Give them as label=word.")


def _encode(
    examples: Sequence[Example], tokenizer: Tokenizer, words: Mapping[str, str], template: str, max_length: int
) -> tuple[Features, list[tuple[int, int]], int]:
    """Return a row for each example and label, where the label's tokens stand in it, and how many texts were cut."""
    before, after = template.split(TEXT)
    texts = tokenizer.encode_plain([f"{one.text} {one.text_b}" if one.text_b else one.text for one in examples])
    names = tokenizer.encode_plain(list(words.values()))
    unknown = [word for word, ids in zip(words.values(), names, strict=True) if tokenizer.unk_id in ids or not ids]
    if unknown:
        raise ConfigError(f"words: the tokenizer does not know '{unknown[0]}'. Choose another word for its label.")
    has_label_first = LABEL in before
    label_side = before if has_label_first else after
    left, right = tokenizer.encode_plain(label_side.split(LABEL))
    (other,) = tokenizer.encode_plain([after if has_label_first else before])
    ids, spans, num_cut = [], [], 0
    for text in texts:
        longest = max_length - 2 - len(left) - len(right) - len(other) - max(len(name) for name in names)
        if longest < 1:
            raise ConfigError(f"max_length = {max_length} leaves no room for the text beside the template.")
        num_cut += len(text) > longest
        kept = text[:longest]
        for name in names:
            pattern = [*left, *name, *right]
            parts = [*pattern, *kept, *other] if has_label_first else [*other, *kept, *pattern]
            start = 1 + len(left) + (0 if has_label_first else len(other) + len(kept))
            ids.append([tokenizer.cls_id, *parts, tokenizer.sep_id])
            spans.append((start, start + len(name)))
    return Features(ids, None, num_cut, 0), spans, num_cut


def _result(table: np.ndarray, labels: list[str], examples: Sequence[Example], num_cut: int) -> ZeroResult:
    odds = np.exp(table - table.max(1, keepdims=True))
    shares = odds / odds.sum(1, keepdims=True)
    best = table.argmax(1)
    predictions = [
        Prediction(labels[index], dict(zip(labels, row.tolist(), strict=True)))
        for index, row in zip(best, shares, strict=True)
    ]
    if any(example.label is None for example in examples):
        return ZeroResult(predictions, None, num_cut)
    number = {label: index for index, label in enumerate(labels)}
    strange = next((one for one in examples if one.label not in number), None)
    if strange is not None:
        raise ConfigError(f"{strange.place}: the label '{strange.label}' has no word. Give one as label=word.")
    columns = {
        "target": np.array([number[str(one.label)] for one in examples]),
        "predicted": best,
        "positive": np.full(len(examples), labels.index(max(labels)) if len(labels) == 2 else -1),  # as fine-tuned
    }
    return ZeroResult(predictions, Judgement(columns, formula).metrics(), num_cut)
