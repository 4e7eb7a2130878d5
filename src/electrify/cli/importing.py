"""Commands that take over what others trained: `import-tensorflow`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, app, show, table


@app.command
def import_tensorflow(
    checkpoint: Path,
    /,
    *,
    output: Path,
    vocab: Path | None = None,
    cased: Annotated[bool, Parameter(negative=())] = False,
    heads: int | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn a checkpoint of the original ELECTRA code (TensorFlow 1) into published folders, without TensorFlow.

    Args:
        checkpoint: Prefix of its files, as model.ckpt-1000, or a folder with one checkpoint.
        output: Folder for discriminator/ and generator/.
        vocab: Its vocab.txt; the one beside the checkpoint by default.
        cased: The vocabulary keeps capital letters and accents.
        heads: Attention heads of the discriminator; one for each 64 units of width by default.
    """
    from electrify.verbs.import_tensorflow import import_tensorflow as run

    report = run(checkpoint, output=output, vocab=vocab, is_cased=cased, num_heads=heads, overwrite=overwrite)
    rows = {
        "checkpoint": report.checkpoint,
        "vocabulary": report.vocab_size,
        **{f"{role}, parameters": number for role, number in report.num_parameters.items()},
        **{f"{role}, attention heads": number for role, number in report.num_heads.items()},
    }
    show(report, as_json=json, lines=table(f"Networks in {output}", rows))
