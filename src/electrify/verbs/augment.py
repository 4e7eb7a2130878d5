"""More training examples from few: words replaced by what a generator thinks could stand there, the label kept.

A share of a text's tokens is hidden, the generator fills them in at random by its probabilities, and only those tokens
change in the text. Whether it helps is a matter of the data: measure it (docs/finetuning.md).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from electrify.data.labelled import Example, TextFields, read_examples
from electrify.data.tokenizer import Encoded, Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.files import refuse_existing_file, write_text
from electrify.models.checkpoint import read_config, resolve_folder
from electrify.models.heads import Generator
from electrify.tasks.batches import Place, choose_place, split_units
from electrify.tasks.features import Features, batch_inputs
from electrify.training.precision import autocast
from electrify.verbs.loading import load_generator

_TOKENS_AT_ONCE = 4_096
_CONTINUATION = "##"


@dataclass(frozen=True, slots=True)
class AugmentReport:
    """What was written."""

    output: str
    num_examples: int
    """The given ones, which come first."""
    num_made: int
    num_changed_tokens: int
    num_same: int
    """Copies in which every drawn token was the one that stood there before; they are left out."""


def augment(
    generator: str | Path,
    data: str | Path,
    *,
    output: str | Path,
    share: float = 0.15,
    copies: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    fields: TextFields | None = None,
    overwrite: bool = False,
) -> AugmentReport:
    """Write the examples of a file and changed copies of them.

    Args:
        generator: A masked language model's folder.
        data: Labelled texts or pairs; of a pair the first text changes.
        output: A `.jsonl` file of rows with `text`, `text_b` and `label`.
        share: Tokens that are replaced, in (0, 1); one at least.
        copies: Changed copies of each example.
        temperature: Of the draw; below 1 nearer to the likeliest.
        seed: Of the draw.
        fields: Names of the fields.
        overwrite: Replace the output.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If the file cannot be used.
        CheckpointError: If the folder holds no masked language model.
    """
    if not 0 < share < 1 or copies < 1 or temperature <= 0 or seed < 0:
        raise ConfigError("share must be in (0, 1), copies at least 1, temperature above 0 and seed 0 or more.")
    target = Path(output)
    if target.suffix != ".jsonl":
        raise ConfigError(f"{target}: rows are written as plain .jsonl. Choose such a name as --output.")
    refuse_existing_file(target, overwrite=overwrite, inputs=[data])
    folder = resolve_folder(generator)
    tokenizer = load_tokenizer(folder)
    place = choose_place("auto", pad_id=tokenizer.pad_id)
    network = load_generator(folder).to(place.device)
    examples = read_examples(data, fields=fields)
    limit = min(512, read_config(folder).max_position_embeddings)
    encoded = tokenizer.encode([one.text for one in examples], max_length=limit)
    draw = np.random.default_rng(seed)
    made: list[Example] = []
    num_changed = num_same = 0
    for _ in range(copies):
        hidden = [_choose(one, share, draw) for one in encoded]
        filled = _fill(network, encoded, hidden, tokenizer, place, temperature=temperature, draw=draw)
        for example, one, places, ids in zip(examples, encoded, hidden, filled, strict=True):
            changes = {
                place_: token
                for place_, token in zip(places, ids, strict=True)
                if token != one.input_ids[place_] and token not in tokenizer.special_ids
            }
            num_changed += len(changes)
            num_same += not changes
            if changes:
                made.append(replace(example, text=_rewrite(example.text, one, changes, tokenizer)))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(_row(example) for example in (*examples, *made)))
    return AugmentReport(str(target), len(examples), len(made), num_changed, num_same)


def _choose(encoded: Encoded, share: float, draw: np.random.Generator) -> list[int]:
    """Return the tokens of a text that are hidden, not its special ones, in order."""
    length = len(encoded.input_ids) - 2
    count = min(length, max(1, round(share * length)))
    return sorted(int(place) + 1 for place in draw.choice(length, size=count, replace=False)) if length else []


def _fill(
    network: Generator,
    encoded: Sequence[Encoded],
    hidden: Sequence[list[int]],
    tokenizer: Tokenizer,
    place: Place,
    *,
    temperature: float,
    draw: np.random.Generator,
) -> list[list[int]]:
    """Return what the generator draws at the hidden places of each text."""
    ids = []
    for one, places in zip(encoded, hidden, strict=True):
        row = list(one.input_ids)
        for position in places:
            row[position] = tokenizer.mask_id
        ids.append(row)
    features = Features(ids, None, 0, 0)
    order = np.argsort(features.unit_lengths, kind="stable")[::-1].copy()
    filled: list[list[int]] = [[] for _ in encoded]
    generator = torch.Generator().manual_seed(int(draw.integers(2**31)))
    unused = torch.tensor(tokenizer.unused_ids(network.config.vocab_size), dtype=torch.int64)
    with torch.no_grad(), autocast(place.device, place.dtype):
        for rows in split_units(features, order, max_units=None, max_tokens=_TOKENS_AT_ONCE):
            at_row = np.repeat(np.arange(len(rows)), [len(hidden[row]) for row in rows])
            at_place = np.concatenate([hidden[row] for row in rows]).astype(np.int64)
            states = network.hidden_states(batch_inputs(features, rows, pad_id=place.pad_id, device=place.device))
            logits = network.logits(states[torch.from_numpy(at_row), torch.from_numpy(at_place)]).float().cpu()
            logits = logits.index_fill(1, unused, -torch.inf)
            drawn = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(-1).tolist()
            for index, token in zip(at_row, drawn, strict=True):
                filled[rows[index]].append(token)
    return filled


def _rewrite(text: str, encoded: Encoded, changes: dict[int, int], tokenizer: Tokenizer) -> str:
    """Put tokens into a text in place of others, from behind, so that the places before stay where they are."""
    for place in sorted(changes, reverse=True):
        start, end = encoded.offsets[place]
        if tokenizer.continuing_ids is None:  # the space before a word is part of its token
            written = tokenizer.decode([changes[place]], skip_special=False)
            glue = " " if written[:1].isspace() and start > 0 and not text[start - 1].isspace() else ""
            text = f"{text[:start]}{glue}{written.lstrip()}{text[end:]}"
            continue
        word = tokenizer.token(changes[place])
        is_inside = start > 0 and not text[start - 1].isspace()
        shown = word.removeprefix(_CONTINUATION)
        needs_space = is_inside and not word.startswith(_CONTINUATION) and not encoded.tokens[place].startswith("##")
        glue = " " if needs_space and text[start - 1].isalnum() else ""
        text = f"{text[:start]}{glue}{shown}{text[end:]}"
    return text


def _row(example: Example) -> str:
    values = {"text": example.text, "text_b": example.text_b, "label": example.label}
    return json.dumps({key: value for key, value in values.items() if value is not None}, ensure_ascii=False) + "\n"
