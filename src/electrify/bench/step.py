"""`bench step`: a pre-training step in real tokens a second, beside the peers' on the same sequences."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify import recipes
from electrify.bench.matmul import product_operations
from electrify.bench.peers import Contender, Missing, find_peers, versions
from electrify.bench.rounds import Measured, Spread, run_rounds, spread
from electrify.bench.rows import Kind, Sequences, made_up_tokenizer, make_sequences, write_sequences
from electrify.config import PretrainConfig
from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.operations import step_operations
from electrify.pretraining.networks import encoder_config
from electrify.training.precision import choose_device, resolve_precision

OURS = Contender("electrify", "electrify.bench.step_work", "build_step", "")
_PRODUCTS = "matrix products"
_PRODUCT_OPERATIONS = 100e9  # of one call, a fraction of a second
_MOST_REPEATS = 200


@dataclass(frozen=True, slots=True)
class StepReport:
    """What `bench step` found."""

    measured: list[Measured]
    """Rates in real tokens a second, ratios electrify / peer; electrify first."""
    missing: list[Missing]
    parts: dict[str, float]
    """Seconds of the parts of electrify's step, taken after the rounds."""
    operations_per_token: float
    """Of the matrix products that the objective needs, for each real token."""
    product_rate: Spread
    """Operations a second of the matrix products alone."""
    product_share: Spread
    """Share of that rate that electrify's step reaches, round by round."""
    num_tokens: list[int]
    """Real tokens of each timed step."""
    real_share: float
    """Share of real tokens when sequences are padded to the longest of their batch."""
    settings: dict[str, Any]
    versions: dict[str, str]


def bench_step(
    recipe: str | Path = "paper-small",
    *,
    overrides: Mapping[str, Any] | None = None,
    rows: Kind = "dense",
    batch: int = 32,
    length: int = 128,
    vocab_size: int = 30_522,
    rounds: int = 5,
    steps: int = 1,
    peers: str | Path | None = None,
    only: Sequence[str] | None = None,
    others: Sequence[Contender] = (),
) -> StepReport:
    """Time full training steps: masking, both networks, both losses, clipping, optimizer.

    Every contender takes the same sequences in each of its steps. Peers pad them; electrify gets them as it trains on
    them, packed into full rows within which no sequence sees another.

    Args:
        recipe: Sizes, dropout, masking and optimizer.
        overrides: Nested values that replace the recipe's.
        rows: Lengths of the sequences, "natural" or "dense".
        batch: Sequences a step.
        length: Longest sequence, in tokens.
        vocab_size: Tokens of the vocabulary.
        rounds: How often each contender has its turn.
        steps: Steps a turn.
        peers: Folder of peers; None measures electrify alone.
        only: Names of the peers to take; None takes all.
        others: Contenders besides the folder's peers.

    Raises:
        ConfigError: If a setting is out of range.
        BenchError: If electrify's step fails.
    """
    for name, value, least in (("batch", batch, 1), ("length", length, 8), ("rounds", rounds, 1), ("steps", steps, 1)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}.")
    config = _resolve(recipe, overrides or {}, batch=batch, length=length, is_natural=rows == "natural")
    found, missing = find_peers(peers, "step", only=only)
    tokenizer = made_up_tokenizer(vocab_size)
    discriminator = encoder_config(config.model, tokenizer)
    generator = generator_config(
        discriminator,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    sequences = make_sequences(
        batch * (1 + rounds * steps), kind=rows, length=length, tokenizer=tokenizer, seed=config.seed
    )
    one_product = 6.0 * batch * length * discriminator.hidden_size * discriminator.intermediate_size
    work: dict[str, Any] = {
        "config": config.model_dump(),
        "body": config.model.body,
        "generator": asdict(generator),
        "discriminator": asdict(discriminator),
        "vocab_size": vocab_size,
        "pad_id": tokenizer.pad_id,
        "mask_id": tokenizer.mask_id,
        "special_ids": list(tokenizer.special_ids),
        "batch": batch,
        "length": length,
        "num_tokens": batch * length,
        "hidden_size": discriminator.hidden_size,
        "intermediate_size": discriminator.intermediate_size,
        "product_repeats": min(_MOST_REPEATS, max(1, round(_PRODUCT_OPERATIONS / one_product))),
    }
    counts = _count_tokens(sequences, batch)
    dtype = str(resolve_precision(config.training.precision, choose_device())).removeprefix("torch.")
    products = Contender(_PRODUCTS, "electrify.bench.matmul", "build_products", dtype)
    contenders = [OURS, products, *found, *others]
    with tempfile.TemporaryDirectory() as folder:
        work["rows"] = str(Path(folder) / "rows.npz")
        write_sequences(Path(folder) / "rows.npz", sequences)
        done = run_rounds(contenders, work, rounds=rounds, units=steps, size=lambda number: counts[number])
    lengths = [len(sequence) for sequence in sequences]
    operations = step_operations(
        generator,
        discriminator,
        num_attended=sum(one * one for one in lengths) / sum(lengths),
        masked_share=config.masking.mask_prob,
    )
    product_rates = [steps * product_operations(work) / seconds for seconds in done.of(_PRODUCTS).seconds]
    return StepReport(
        measured=[one for one in done.measured if one.name != _PRODUCTS],
        missing=[*missing, *done.failed],
        parts=done.of(OURS.name).inspection,
        operations_per_token=operations,
        product_rate=spread(product_rates),
        product_share=spread(
            [rate * operations / of for rate, of in zip(done.of(OURS.name).rates, product_rates, strict=True)]
        ),
        num_tokens=counts[1:],
        real_share=_real_share(sequences, batch),
        settings={
            "recipe": str(recipe),
            "rows": rows,
            "batch": batch,
            "length": length,
            "vocabulary": vocab_size,
            "dropout": config.model.dropout,
            "attention dropout": config.model.attention_dropout,
            "precision": dtype,
            "rounds": rounds,
            "steps a round": steps,
        },
        versions=versions(contenders),
    )


def _resolve(
    recipe: str | Path, overrides: Mapping[str, Any], *, batch: int, length: int, is_natural: bool
) -> PretrainConfig:
    """Return the recipe with this batch in one pass, and with room for this length, unless the overrides differ."""
    training = {"batch_size": batch, "micro_batch_size": None} | dict(overrides.get("training", {}))
    config = recipes.load_recipe(recipe, {**overrides, "training": training})
    longest = max(length, config.model.max_positions)
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"max_positions": longest}),
            "data": config.data.model_copy(update={"isolate_documents": is_natural}),
            "training": config.training.model_copy(update={"batch_size": batch}),
        }
    )


def _count_tokens(sequences: Sequences, batch: int) -> list[int]:
    return [
        sum(len(sequence) for sequence in sequences[start : start + batch]) for start in range(0, len(sequences), batch)
    ]


def _real_share(sequences: Sequences, batch: int) -> float:
    lengths = [len(sequence) for sequence in sequences]
    padded = sum(max(lengths[start : start + batch]) * batch for start in range(0, len(lengths), batch))
    return sum(lengths) / padded
