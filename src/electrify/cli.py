"""The command line: one command a verb, options from the same configs, results as tables or JSON.

Only this module prints. Errors a user can mend are one line on standard error and exit code 2. Nothing heavy is
imported until a command runs, so `--help` is quick.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from pydantic import BaseModel, ValidationError

from electrify import __version__, progress
from electrify.config import FinetuneConfig, PretrainConfig
from electrify.data.sources import SourceOptions
from electrify.errors import ElectrifyError
from electrify.recipes import explain

app = App(
    name="electrify",
    version=__version__,
    help="Train text encoders by replaced token detection: from raw text to a published, fine-tuned model.",
    suppress_keyboard_interrupt=False,  # `main` says what happened
)

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print the result as JSON, and nothing else.")]
Source = Annotated[SourceOptions, Parameter(name="*")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what is in the output folder.")]
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: Words after the program's name; the process's own by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if "--json" not in words:
        progress.enable()
    try:
        app(words, exit_on_error=False, print_error=False)
    except ElectrifyError as error:
        _fail(str(error))
    except CycloptsError as error:
        _fail(_explain(error))
    except KeyboardInterrupt:
        print("electrify: interrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _explain(error: CycloptsError) -> str:
    problem = error.__cause__
    if isinstance(problem, ValidationError):  # a value that the configs refuse
        return f"--{explain(problem, PretrainConfig)}"
    return " ".join(str(error).split())


def _fail(message: str) -> None:
    print(f"electrify: {message}", file=sys.stderr)
    sys.exit(2)


def _show(result: Any, *, as_json: bool, lines: Sequence[str] = ()) -> None:
    if as_json:
        from electrify.runs import finite_or_none

        parts = result if isinstance(result, list) else [result]
        data = [asdict(one) if is_dataclass(one) and not isinstance(one, type) else one for one in parts]
        plain = finite_or_none({"result": data if isinstance(result, list) else data[0]})["result"]
        print(json.dumps(plain, ensure_ascii=False, indent=2, default=str))
        return
    for line in lines:
        print(line)


def _table(title: str, rows: dict[str, Any]) -> list[str]:
    width = max(len(key) for key in rows)
    return [title, *(f"  {key:<{width}}  {_format(value)}" for key, value in rows.items())]


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _overrides(config: BaseModel | None) -> dict[str, Any]:
    return config.model_dump(exclude_unset=True) if config is not None else {}


@app.command
def tokenizer(
    corpus: list[Path],
    /,
    *,
    output: Path,
    vocab_size: int = 30_522,
    cased: Annotated[bool, Parameter(negative=())] = False,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    source: Source | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a WordPiece tokenizer from text, or take over a published one.

    Args:
        corpus: Files, folders or globs: .txt, .jsonl, .csv, .tsv, .parquet, plain or .gz, .zst, .bz2. None with --from.
        output: Folder for tokenizer.json, tokenizer_config.json and vocab.txt.
        vocab_size: Number of tokens, special ones included.
        cased: Keep capital letters and accents.
        from_: Take this published folder or vocab.txt instead of making a new one.
        source: How documents are found.
    """
    from electrify.verbs.tokenizer import build_tokenizer

    report = build_tokenizer(
        corpus,
        output=output,
        vocab_size=vocab_size,
        is_cased=cased,
        from_=from_,
        source_options=source,
        overwrite=overwrite,
    )
    _show(report, as_json=json, lines=_table(f"Tokenizer in {output}", asdict(report)))


@app.command
def prepare(
    corpus: list[Path],
    /,
    *,
    tokenizer: Path,
    output: Path,
    max_length: int = 128,
    pack: Literal["dense", "pieces", "segments"] = "dense",
    validation_share: float = 0.01,
    validation: list[Path] | None = None,
    processes: int | None = None,
    source: Source | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn text into shards of token rows for pre-training.

    Args:
        corpus: Files, folders or globs, as for `electrify tokenizer`.
        tokenizer: Folder of the tokenizer.
        output: Folder for the shards.
        max_length: Longest row in tokens, special ones included.
        pack: "dense" fills rows over document borders, "pieces" keeps a row within one, "segments" makes A/B pairs.
        validation_share: Share of documents held out, chosen by a hash of their text.
        validation: Files that are held out instead.
        processes: Processes that tokenise; one for each processor by default. The output does not depend on it.
        source: How documents are found.
    """
    from electrify.verbs.prepare import prepare as run

    report = run(
        corpus,
        tokenizer=tokenizer,
        output=output,
        max_length=max_length,
        pack=pack,
        validation_share=validation_share,
        validation=validation,
        processes=processes,
        source_options=source,
        overwrite=overwrite,
    )
    _show(report, as_json=json, lines=_table(f"Shards in {output}", asdict(report)))


@app.command
def pretrain(
    recipe: str,
    /,
    *,
    output: Path,
    resume: Annotated[bool, Parameter(negative=())] = False,
    verify: Annotated[bool, Parameter(negative=())] = False,
    config: Annotated[PretrainConfig | None, Parameter(name="*")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a generator and a discriminator by replaced token detection.

    Args:
        recipe: A shipped recipe (paper-small, paper-base, paper-large, tiny, mini, small) or a TOML file.
        output: The run's folder.
        resume: Continue the run in the output folder from its newest saved state.
        verify: Compare the digest of every shard first.
        config: Settings that replace the recipe's.
    """
    from electrify.verbs.pretrain import pretrain as run

    report = run(recipe, output=output, overrides=_overrides(config), resume=resume, verify=verify, overwrite=overwrite)
    rows = {
        "steps": report.steps,
        "tokens": report.tokens,
        "minutes": report.seconds / 60,
        "tokens/s": report.tokens_per_s,
        **{f"held-out {key}": value for key, value in report.validation.items()},
    }
    _show(report, as_json=json, lines=_table(f"Networks in {output}/discriminator and {output}/generator", rows))


@app.command
def config(recipe: str, /, *, config: Annotated[PretrainConfig | None, Parameter(name="*")] = None) -> None:
    """Print a recipe as complete, commented TOML, to copy and edit.

    Args:
        recipe: A shipped recipe or a TOML file.
        config: Settings that replace the recipe's.
    """
    from electrify.recipes import load_recipe, render

    print(render(load_recipe(recipe, _overrides(config))), end="")


@app.command
def detect(folder: str, /, *texts: str, json: Json = False) -> None:
    """Show each token of a text with its probability of having been replaced.

    Args:
        folder: A discriminator's folder.
        texts: One or more texts.
    """
    from electrify.verbs.detect import detect as run

    if not texts:
        _fail("no text. Give at least one, in quotation marks.")
    detections = run(folder, texts)
    lines = []
    for detection in detections:
        lines.append(detection.text)
        lines += [f"  {score.probability:6.1%}  {score.token}" for score in detection.tokens]
        if detection.num_cut:
            lines.append(f"  ({detection.num_cut} more tokens are beyond the model's length and were not judged)")
    _show(detections, as_json=json, lines=lines)


@app.command
def fill(folder: str, text: str, /, *, top: int = 5, json: Json = False) -> None:
    """Show the most likely tokens for every [MASK].

    Args:
        folder: A generator's folder.
        text: A text with [MASK] in it.
        top: How many tokens for each.
    """
    from electrify.verbs.fill import fill as run

    masks = run(folder, text, top=top)
    lines = []
    for number, candidates in enumerate(masks, start=1):
        lines.append(f"[MASK] {number}")
        lines += [f"  {candidate.probability:6.1%}  {candidate.token}" for candidate in candidates]
    _show([[asdict(one) for one in candidates] for candidates in masks], as_json=json, lines=lines)


@app.command
def finetune(
    model: str,
    /,
    *,
    train: Path,
    valid: Path,
    output: Path,
    test: Path | None = None,
    task: str = "classification",
    init: Literal["pretrained", "random"] = "pretrained",
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    settings: Annotated[FinetuneConfig | None, Parameter(name="*")] = None,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fine-tune an encoder on labelled examples.

    Args:
        model: Folder of an encoder, such as a run's discriminator.
        train: Labelled examples: .jsonl, .csv, .tsv or .parquet, plain or compressed.
        valid: Labelled examples that choose the best epoch.
        output: Folder for the classifier.
        test: Labelled examples that are only measured.
        task: Kind of label.
        init: "random" forgets the weights and keeps the sizes, for comparison.
        seeds: One run each; 0 by default.
        settings: How to train.
        text_field: Column of the text.
        text_b_field: Column of a pair's second text.
        label_field: Column of the label.
    """
    from electrify.verbs.finetune import finetune as run

    report = run(
        model,
        train=train,
        validation=valid,
        output=output,
        test=test,
        task=task,
        init=init,
        seeds=seeds or [0],
        config=settings,
        text_field=text_field,
        text_b_field=text_b_field,
        label_field=label_field,
        overwrite=overwrite,
    )
    lines = [f"Classifier of seed {report.published_seed} in {output}"]
    for part, summary in (("validation", report.validation), ("test", report.test)):
        if summary is not None:
            lines.append(f"  {part} {report.metric}  {_mean_and_spread(summary)}")
    if report.num_cut_examples:
        lines.append(f"  {report.num_cut_examples:,} examples were longer than the model takes and were cut")
    _show(report, as_json=json, lines=lines)


def _mean_and_spread(summary: dict[str, Any]) -> str:
    values = " ".join(f"{value:.4f}" for value in summary["values"])
    spread = "" if summary["std"] is None else f" ± {summary['std']:.4f}"
    return f"{summary['mean']:.4f}{spread}  ({values})"


@app.command
def evaluate(
    folder: str,
    data: Path,
    /,
    *,
    text_field: str = "text",
    text_b_field: str | None = None,
    label_field: str = "label",
    json: Json = False,
) -> None:
    """Measure a fine-tuned classifier on labelled examples.

    Args:
        folder: A classifier's folder.
        data: Labelled examples.
        text_field: Column of the text.
        text_b_field: Column of a pair's second text.
        label_field: Column of the label.
    """
    from electrify.verbs.predict import evaluate as run

    result = run(folder, data, text_field=text_field, text_b_field=text_b_field, label_field=label_field)
    lines = _table(f"{result.num_examples:,} examples", {**result.metrics, "cut examples": result.num_cut_examples})
    lines.append("right label → predicted labels")
    lines += [
        f"  {right}: " + ", ".join(f"{guess} {count:,}" for guess, count in row.items())
        for right, row in result.confusion.items()
    ]
    _show(result, as_json=json, lines=lines)


@app.command
def predict(
    folder: str,
    data: Path,
    /,
    *,
    text_field: str = "text",
    text_b_field: str | None = None,
    json: Json = False,
) -> None:
    """Predict a label for each example.

    Args:
        folder: A classifier's folder.
        data: Examples; labels are not needed.
        text_field: Column of the text.
        text_b_field: Column of a pair's second text.
    """
    from electrify.data.labelled import read_examples
    from electrify.verbs.predict import predict as run

    examples = read_examples(data, text_field=text_field, text_b_field=text_b_field, needs_labels=False)
    result = run(folder, examples)
    lines = [
        f"{one.label}\t{one.probabilities[one.label]:.4f}\t{example.text}"
        for one, example in zip(result.predictions, examples, strict=True)
    ]
    if result.num_cut_examples:
        print(f"electrify: {result.num_cut_examples} examples were cut to the model's length.", file=sys.stderr)
    _show(result, as_json=json, lines=lines)
