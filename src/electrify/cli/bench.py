"""Commands that measure: `bench step`, and what else is timed beside the peers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from electrify.cli.app import Json, RecipeSettings, Source, app, overrides, show

if TYPE_CHECKING:
    from electrify.bench.comparison import Comparison

bench = App(name="bench", help="Measure electrify beside what people would use instead, in turn, on the same rows.")
app.command(bench)

Peers = Annotated[Path | None, Parameter(help="Folder of peers, such as benchmarks/peers; electrify alone without it.")]
Only = Annotated[
    list[str] | None,
    Parameter(consume_multiple=True, negative=(), help='Names of the peers to take, such as "transformers_loop bf16".'),
]
Precision = Literal["auto", "bf16", "fp32"]
Rounds = Annotated[int, Parameter(help="How often each side has its turn.")]


@bench.command
def step(
    recipe: str = "paper-small",
    /,
    *,
    rows: Literal["natural", "dense"] = "dense",
    batch: int = 32,
    length: int = 128,
    vocab_size: int = 30_522,
    dropout: float | None = None,
    rounds: Rounds = 5,
    steps: int = 1,
    peers: Peers = None,
    only: Only = None,
    config: RecipeSettings = None,
    json: Json = False,
) -> None:
    """Time full pre-training steps on made-up rows, in real tokens a second.

    Args:
        recipe: Sizes, masking and optimizer: a shipped recipe or a TOML file.
        rows: Sequences as long as natural ones, or all full.
        batch: Sequences a step.
        length: Longest sequence in tokens.
        vocab_size: Tokens of the vocabulary.
        dropout: Of hidden units and attention weights, instead of the recipe's.
        steps: Steps a turn.
        config: Settings that replace the recipe's.
    """
    from electrify.bench.step import bench_step
    from electrify.bench.table import head_lines, side_lines, spread_text

    given = overrides(config)
    if dropout is not None:
        given["model"] = {**given.get("model", {}), "dropout": dropout, "attention_dropout": dropout}
    report = bench_step(
        recipe,
        overrides=given,
        rows=rows,
        batch=batch,
        length=length,
        vocab_size=vocab_size,
        rounds=rounds,
        steps=steps,
        peers=peers,
        only=only,
    )
    total = sum(report.parts.values())
    share, products = report.product_share, report.product_rate
    lines = [
        *head_lines("A pre-training step", report.settings, report.versions, threads=report.measured[0].threads),
        *side_lines(report.measured, report.missing, unit="real tokens/s"),
        "",
        f"Real tokens when padded to the longest sequence of a batch: {report.real_share:.0%}",
        f"Operations a real token: {report.operations_per_token / 1e6:.1f} million",
        f"Matrix products alone: {spread_text(products, 1e-9)} GFLOP/s",
        f"electrify's step reaches {share.median:.0%} of it ({share.minimum:.0%} to {share.maximum:.0%})",
        "",
        f"electrify's step by part, {1000 * total:,.0f} ms",
        *(f"  {part:<14}{1000 * seconds:8.1f} ms {seconds / total:5.0%}" for part, seconds in report.parts.items()),
    ]
    show(report, as_json=json, lines=lines)


@bench.command
def infer(
    model: str,
    /,
    *,
    batch: int = 32,
    length: int = 128,
    precision: Precision = "auto",
    rounds: Rounds = 5,
    steps: int = 4,
    peers: Peers = None,
    only: Only = None,
    json: Json = False,
) -> None:
    """Time a discriminator's forward pass over sequences of natural lengths, in real tokens a second.

    Args:
        model: A discriminator's folder.
        batch: Sequences a batch.
        length: Longest sequence in tokens.
        precision: Of electrify.
        steps: Batches a turn.
    """
    from electrify.bench.infer import bench_infer

    report = bench_infer(
        model,
        batch=batch,
        length=length,
        precision=precision,
        rounds=rounds,
        steps=steps,
        peers=peers,
        only=only,
    )
    _show(report, as_json=json)


@bench.command
def prepare(
    corpus: list[Path],
    /,
    *,
    tokenizer: Path,
    megabytes: float = 10.0,
    length: int = 128,
    rounds: Rounds = 5,
    peers: Peers = None,
    only: Only = None,
    source: Source | None = None,
    json: Json = False,
) -> None:
    """Time `electrify prepare` in one process, and say whether the peers' ids are equal.

    Args:
        corpus: Files, folders or globs, as for `electrify prepare`.
        tokenizer: Folder of the tokenizer.
        megabytes: Text to take from the beginning of the corpus, in millions of bytes.
        length: Tokens of a row.
        source: How documents are found.
    """
    from electrify.bench.prepare import bench_prepare

    report = bench_prepare(
        corpus,
        tokenizer=tokenizer,
        megabytes=megabytes,
        length=length,
        rounds=rounds,
        peers=peers,
        only=only,
        source_options=source,
    )
    _show(report, as_json=json, scale=1e-6)


@bench.command
def finetune(
    model: str,
    /,
    *,
    train: Path,
    valid: Path,
    examples: int | None = None,
    batch: int = 32,
    length: int = 128,
    precision: Precision = "auto",
    rounds: Rounds = 3,
    peers: Peers = None,
    only: Only = None,
    json: Json = False,
) -> None:
    """Time one epoch of fine-tuning, from a model folder to a classifier's folder.

    Args:
        model: Folder of an encoder.
        train: Labelled examples.
        valid: Labelled examples that are scored after the epoch.
        examples: Training examples to take; all by default.
        batch: Examples a step.
        length: Longest example in tokens.
        precision: Of electrify.
    """
    from electrify.bench.finetune import bench_finetune

    report = bench_finetune(
        model,
        train=train,
        validation=valid,
        examples=examples,
        batch=batch,
        length=length,
        precision=precision,
        rounds=rounds,
        peers=peers,
        only=only,
    )
    _show(report, as_json=json)


@bench.command
def start(
    recipe: str = "paper-small",
    /,
    *,
    length: int = 128,
    vocab_size: int = 30_522,
    rounds: Rounds = 3,
    config: RecipeSettings = None,
    json: Json = False,
) -> None:
    """Time `electrify pretrain` from the command to the end of its first step.

    Args:
        recipe: A shipped recipe or a TOML file.
        length: Tokens of made-up rows, without --data.path.
        vocab_size: Tokens of the made-up vocabulary, without --data.path.
        config: Settings that replace the recipe's.
    """
    from electrify.bench.start import bench_start
    from electrify.bench.table import spread_text

    report = bench_start(recipe, overrides=overrides(config), length=length, vocab_size=vocab_size, rounds=rounds)
    line = f"From the command to the end of the first step: {spread_text(report.seconds)} s, {report.settings}"
    show(report, as_json=json, lines=[line])


def _show(report: "Comparison", *, as_json: bool, scale: float = 1.0) -> None:
    from electrify.bench.table import head_lines, side_lines

    lines = [
        *head_lines(report.title, report.settings, report.versions, threads=report.measured[0].threads),
        *side_lines(report.measured, report.missing, unit=report.unit, scale=scale),
        *(["", *report.notes] if report.notes else []),
    ]
    show(report, as_json=as_json, lines=lines)
