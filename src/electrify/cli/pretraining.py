"""Commands around a pre-training run: `pretrain`, `config`, and its networks: `detect`, `fill`, `generate`, `score`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, RecipeSettings, app, fail, overrides, show, table


@app.command
def pretrain(
    recipe: str,
    /,
    *,
    output: Path,
    resume: Annotated[bool, Parameter(negative=())] = False,
    extend: int | None = None,
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True,
    config: RecipeSettings = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train networks on prepared text: by replaced token detection, or another objective (--objective.kind).

    What is not given has the value of the recipe: `electrify config RECIPE` prints them all.

    Args:
        recipe: A shipped recipe (tiny, mini, small, paper-tiny, -mini, -small, -base, -large) or a TOML file.
        output: The run's folder.
        resume: Continue the run in the output folder from its newest saved state.
        extend: Continue the finished run in the output folder for so many more steps; RECIPE is its config.toml.
        verify: Compare the digest of every shard first; --no-verify compares sizes only.
        config: Settings that replace the recipe's.
    """
    from electrify.verbs.pretrain import pretrain as run

    report = run(
        recipe,
        output=output,
        overrides=overrides(config),
        resume=resume,
        extend=extend,
        verify=verify,
        overwrite=overwrite,
    )
    rows = {
        "steps": report.steps,
        "tokens": report.tokens,
        "minutes": report.seconds / 60,
        "tokens/s": report.tokens_per_s,
        **{f"held-out {key}": value for key, value in report.validation.items()},
    }
    folders = " and ".join(f"{output}/{name}" for name in report.networks)
    show(report, as_json=json, lines=table(f"Networks in {folders}", rows))


@app.command
def config(recipe: str, /, *, config: RecipeSettings = None) -> None:
    """Print a recipe as complete, commented TOML, to copy and edit.

    Args:
        recipe: A shipped recipe or a TOML file.
        config: Settings that replace the recipe's.
    """
    from electrify.recipes import load_recipe, render

    print(render(load_recipe(recipe, overrides(config))), end="")


@app.command
def detect(folder: str, /, *texts: str, json: Json = False) -> None:
    """Show each token of a text with its probability of having been replaced.

    Args:
        folder: A discriminator's folder.
        texts: One or more texts.
    """
    from electrify.verbs.detect import detect as run

    if not texts:
        fail("no text. Give at least one, in quotation marks.")
    detections = run(folder, texts)
    lines = []
    for detection in detections:
        lines.append(detection.text)
        lines += [f"  {score.probability:6.1%}  {score.token}" for score in detection.tokens]
        if detection.num_cut:
            lines.append(f"  ({detection.num_cut} more tokens are beyond the model's length and were not judged)")
    show(detections, as_json=json, lines=lines)


@app.command
def fill(folder: str, text: str, /, *, top: int = 5, json: Json = False) -> None:
    """Show the most likely tokens for every [MASK].

    Args:
        folder: Folder of a network that fills in [MASK], such as a run's generator or encoder.
        text: A text with [MASK] in it.
        top: How many tokens for each.
    """
    from electrify.verbs.fill import fill as run

    masks = run(folder, text, top=top)
    lines = []
    for number, candidates in enumerate(masks, start=1):
        lines.append(f"[MASK] {number}")
        lines += [f"  {candidate.probability:6.1%}  {candidate.token}" for candidate in candidates]
    show([[asdict(one) for one in candidates] for candidates in masks], as_json=json, lines=lines)


@app.command
def generate(
    folder: str,
    prompt: str,
    /,
    *,
    max_tokens: int = 50,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Continue a text, or fill in its <extra_id_0>, <extra_id_1>, … with a network trained by span corruption.

    Args:
        folder: Folder of a causal language model or T5 network, such as a run's decoder or encoder_decoder.
        prompt: What to continue or fill in; may be empty.
        max_tokens: Longest continuation in tokens.
        temperature: Of the softmax; below 1 is sharper, 0 always takes the most likely token.
        top_p: Draw from the most likely tokens that hold so much of the probability together.
        seed: Another seed, another text.
    """
    from electrify.verbs.generate import generate as run

    result = run(folder, prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    lines = [result.whole, f"({len(result.tokens)} tokens; ended by {result.ended_by})"]
    show(asdict(result), as_json=json, lines=lines)


@app.command
def score(folder: str, /, *texts: str, json: Json = False) -> None:
    """Show how likely texts are, most likely first: pseudo-log-likelihoods in nats.

    Args:
        folder: Folder of a scorer, from a run with --objective.kind electric.
        texts: One or more texts.
    """
    from electrify.verbs.score import score as run

    if not texts:
        fail("no text. Give at least one, in quotation marks.")
    results = run(folder, texts)
    ordered = sorted(results, key=lambda one: -one.score)
    lines = [f"{one.score:10.2f}  {one.text}" for one in ordered]
    num_cut = sum(one.num_cut for one in results)
    if num_cut:
        lines.append(f"({num_cut} tokens are beyond the model's length and were not scored)")
    show([asdict(one) for one in results], as_json=json, lines=lines)
