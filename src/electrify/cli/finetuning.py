"""Commands around labelled examples: `finetune`, `evaluate`, `predict`."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, app, show, table
from electrify.config import FinetuneConfig


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
    show(report, as_json=json, lines=lines)


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
    lines = table(f"{result.num_examples:,} examples", {**result.metrics, "cut examples": result.num_cut_examples})
    lines.append("right label → predicted labels")
    lines += [
        f"  {right}: " + ", ".join(f"{guess} {count:,}" for guess, count in row.items())
        for right, row in result.confusion.items()
    ]
    show(result, as_json=json, lines=lines)


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
    show(result, as_json=json, lines=lines)
