"""Commands for few labels and for choosing: `classify-zero`, `augment`, `probe`, `tune`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, app, fail, show
from electrify.cli.finetuning import FieldOptions, fields_of
from electrify.config import FinetuneConfig


@app.command(name="classify-zero")
def classify_zero(
    discriminator: str,
    data: Path,
    /,
    *,
    words: Annotated[list[str], Parameter(consume_multiple=True, negative=())],
    template: str = "{text} It was {label} .",
    centre: Annotated[bool, Parameter(negative=())] = False,
    max_length: int = 128,
    field_names: FieldOptions | None = None,
    json: Json = False,
) -> None:
    """Classify texts without training: the label whose word looks least replaced in a template wins.

    Args:
        discriminator: Folder of a token detector, such as a run's discriminator.
        data: Texts; with labels, the result is measured.
        words: A word for each label, as `positive=great negative=terrible`.
        template: Where the text and the label's word stand.
        centre: Take each word's mean score off, so that a word that looks odd everywhere has its chance.
        max_length: Longest row in tokens; the text is cut, never the template.
        field_names: Where texts and labels stand.
    """
    from electrify.tasks.kinds import read_part
    from electrify.verbs.classify_zero import classify_zero as run

    pairs = dict(pair.split("=", 1) for pair in words if "=" in pair)
    if len(pairs) != len(words):
        fail("--words takes label=word, each label once, such as --words positive=great negative=terrible.")
    examples = read_part("classification", data, fields=fields_of(field_names), needs_labels=False)
    result = run(discriminator, examples, words=pairs, template=template, centre=centre, max_length=max_length)
    lines = [
        f"{one.label}\t{one.probabilities[one.label]:.4f}\t{example.text}"
        for one, example in zip(result.predictions, examples, strict=True)
    ]
    if result.metrics is not None:
        lines = [f"{len(examples):,} examples", *(f"  {name}  {value:.4f}" for name, value in result.metrics.items())]
    show(result, as_json=json, lines=lines)


@app.command
def augment(
    generator: str,
    data: Path,
    /,
    *,
    output: Path,
    share: float = 0.15,
    copies: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make more labelled examples: some words replaced by a generator, the label kept.

    Args:
        generator: Folder of a masked language model, such as a run's generator.
        data: Labelled texts or pairs.
        output: A .jsonl file for the examples and their copies.
        share: Share of the tokens that are replaced.
        copies: Changed copies of each example.
        temperature: Of the draw.
        seed: Of the draw.
    """
    from electrify.verbs.augment import augment as run

    report = run(
        generator,
        data,
        output=output,
        share=share,
        copies=copies,
        temperature=temperature,
        seed=seed,
        overwrite=overwrite,
    )
    lines = [
        f"{report.num_examples:,} examples and {report.num_made:,} changed copies in {output}",
        f"  {report.num_changed_tokens:,} tokens changed; {report.num_same:,} copies came out the same, left out",
    ]
    show(report, as_json=json, lines=lines)


@app.command
def probe(
    model: str,
    /,
    *,
    train: Path,
    valid: Path,
    pooling: Literal["mean", "first"] = "mean",
    max_length: int = 128,
    field_names: FieldOptions | None = None,
    json: Json = False,
) -> None:
    """Measure what each layer of a frozen encoder knows about some labels.

    Args:
        model: Folder of an encoder.
        train: Labelled texts or pairs.
        valid: The same, to measure on.
        pooling: What stands for a text: the mean of its tokens or the first one.
        max_length: Longest row in tokens.
        field_names: Where texts and labels stand.
    """
    from electrify.verbs.probe import probe as run

    fields = fields_of(field_names)
    report = run(model, train=train, validation=valid, pooling=pooling, max_length=max_length, fields=fields)
    lines = [f"accuracy on {report.num_validation:,} examples; most frequent label {report.majority:.4f}"]
    lines += [
        f" {'*' if one == report.best else ' '}layer {one.layer}  {one.accuracy:.4f}  (C = {one.strength:g})"
        for one in report.layers
    ]
    show(report, as_json=json, lines=lines)


@app.command
def tune(
    model: str,
    /,
    *,
    train: Path,
    valid: Path,
    output: Path,
    task: str = "classification",
    space: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    trials: int = 12,
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    settings: Annotated[FinetuneConfig | None, Parameter(name="*")] = None,
    field_names: FieldOptions | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search the settings of fine-tuning with Optuna.

    Args:
        model: Folder of an encoder.
        train: Labelled examples.
        valid: Labelled examples that choose.
        output: Folder for the results of all trials.
        task: Kind of task.
        space: Values to choose from, as `learning_rate=1e-4,3e-4`; the paper's rates and decays if not given.
        trials: Choices that are tried.
        seeds: Runs of each choice; 0 by default.
        settings: What is not searched.
        field_names: Where texts and labels stand.
    """
    from electrify.verbs.tune import tune as run

    report = run(
        model,
        train=train,
        validation=valid,
        output=output,
        task=task,
        space=_space(space) if space else None,
        num_trials=trials,
        seeds=seeds or (0,),
        config=settings,
        fields=fields_of(field_names),
        overwrite=overwrite,
    )
    lines = [f"{report.metric}: {len(report.trials)} trials in {output}, best first"]
    lines += [
        f"  {one.value:.4f}  {', '.join(f'{name} = {value}' for name, value in one.settings.items())}"
        for one in sorted(report.trials, key=lambda one: -one.value)
    ]
    show(report, as_json=json, lines=lines)


def _space(texts: list[str]) -> dict[str, list[Any]]:
    space: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            fail(f"--space takes name=value,value,…, got '{text}'.")
        space[name.replace("-", "_")] = [_value(one) for one in values.split(",")]
    return space


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
