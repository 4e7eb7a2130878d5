"""Using a fine-tuned network: the commands `evaluate` and `predict`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from electrify.cli.app import Json, app, check_report, show, table
from electrify.cli.finetuning import FieldOptions, comparison_line, fields_of


@app.command
def evaluate(
    folder: str,
    data: Path,
    /,
    *,
    field_names: FieldOptions | None = None,
    baseline: Path | None = None,
    mistakes: int = 5,
    report: Path | None = None,
    json: Json = False,
) -> None:
    """Measure a fine-tuned network on labelled examples.

    Args:
        folder: A fine-tuned network's folder.
        data: Labelled examples.
        field_names: Where texts and labels stand.
        baseline: Another network of the same kind, to compare with on these examples.
        mistakes: How many of the worst errors are shown.
        report: Also write everything as an HTML page with pictures here.
    """
    check_report(report)
    from electrify.verbs.evaluate import evaluate as run

    fields = fields_of(field_names)
    result = run(folder, data, fields=fields, baseline=baseline, num_mistakes=max(mistakes, 20 if report else 0))
    if report is not None:
        from electrify.report.evaluation_page import write_evaluation_page

        write_evaluation_page(folder, data, result, report)
    rows: dict[str, Any] = {
        name: f"{one.value:.4f}  ({one.low:.4f} to {one.high:.4f})" for name, one in result.intervals.items()
    }
    if result.calibration is not None:
        rows["calibration error"] = f"{result.calibration.error:.4f}"
    rows |= {"cut examples": result.num_cut_examples, **result.counts}
    lines = table(f"{result.num_examples:,} examples", rows)
    if result.comparison is not None:
        lines.append(comparison_line(result.comparison))
    if result.classes:
        lines.append("class: precision, recall, F1, number")
        lines += [
            f"  {name}: {one.precision:.4f} {one.recall:.4f} {one.f1:.4f} {one.count:,}"
            for name, one in result.classes.items()
        ]
    if result.confusion:
        lines.append("right label → predicted labels")
        lines += [
            f"  {right}: " + ", ".join(f"{guess} {count:,}" for guess, count in row.items() if count)
            for right, row in result.confusion.items()
        ]
    if result.mistakes and mistakes:
        lines.append("worst errors: place, right → predicted, text")
        lines += [f"  {one.place}: {one.right} → {one.predicted}: {one.text}" for one in result.mistakes[:mistakes]]
    show(result, as_json=json, lines=lines)


@app.command
def predict(
    folder: str,
    data: Path,
    /,
    *,
    field_names: FieldOptions | None = None,
    submission: Path | None = None,
    json: Json = False,
) -> None:
    """Predict something for each example.

    Args:
        folder: A fine-tuned network's folder.
        data: Examples; labels are not needed.
        field_names: Where the texts stand.
        submission: Write the file that GLUE (.tsv) or SQuAD (.json) takes here, and print its name alone.
    """
    if submission is not None:
        from electrify.verbs.submit import write_submission

        files = write_submission(folder, data, submission, fields=fields_of(field_names))
        show([str(path) for path in files], as_json=json, lines=[f"Written: {path}" for path in files])
        return
    from electrify.tasks.kinds import read_part
    from electrify.verbs.finetuned import open_finetuned
    from electrify.verbs.predict import predict as run

    opened = open_finetuned(folder)
    examples = read_part(opened.task.kind, data, fields=fields_of(field_names), needs_labels=False)
    result = run(opened, examples)
    if result.num_cut_examples:
        print(
            f"electrify: {result.num_cut_examples:,} examples were longer than its rows and were cut.", file=sys.stderr
        )
    show(result, as_json=json, lines=list(_lines(examples, result.predictions)))


def _lines(examples: list[Any], predictions: list[Any]) -> Iterator[str]:
    """Yield a line for each prediction, fields apart by tabs; what is predicted comes first."""
    for example, one in zip(examples, predictions, strict=True):
        if hasattr(one, "tags"):
            intent = f"{one.label}\t" if hasattr(one, "label") else ""
            yield intent + " ".join(f"{word}/{tag}" for word, tag in zip(one.words, one.tags, strict=True))
        elif hasattr(one, "no_answer_score"):
            yield f"{one.id}\t{one.text}"
        elif hasattr(one, "choice"):
            yield f"{one.choice}\t{one.probabilities[one.choice]:.4f}\t{one.text}"
        elif hasattr(one, "score"):
            yield f"{one.score:.4f}\t{_texts(example)}"
        elif hasattr(one, "labels"):
            yield f"{', '.join(one.labels)}\t{_texts(example)}"
        else:
            yield f"{one.label}\t{one.probabilities[one.label]:.4f}\t{_texts(example)}"


def _texts(example: Any) -> str:
    """Return the text of an example, or both of a pair, in one line, apart by a tab."""
    texts = (example.text,) if example.text_b is None else (example.text, example.text_b)
    return "\t".join(" ".join(text.split()) for text in texts)
