"""`import-tensorflow`: a checkpoint of the original ELECTRA code to published folders, without TensorFlow."""

import logging
from dataclasses import dataclass
from pathlib import Path

from electrify import __version__
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import DataError
from electrify.files import new_folder, refuse_existing, write_manifest, write_text
from electrify.models.checkpoint import save_model
from electrify.models.electra import ElectraModel
from electrify.models.heads import Network
from electrify.models.tensorflow_bundle import find_checkpoint, read_bundle
from electrify.models.tensorflow_names import read_pair

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was found and written."""

    output: Path
    checkpoint: Path
    num_parameters: dict[str, int]
    """Numbers in each written network, by the name of its folder; shared embeddings count in both."""
    vocab_size: int
    num_heads: dict[str, int]
    """Attention heads of each network, which the checkpoint does not tell: one for each 64 units unless given."""


def import_tensorflow(
    checkpoint: str | Path,
    *,
    output: str | Path,
    vocab: str | Path | None = None,
    is_cased: bool = False,
    num_heads: int | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Write `discriminator/` and `generator/` as published folders.

    Args:
        checkpoint: Prefix of the checkpoint's files, its `.index`, or a folder with one checkpoint.
        output: The folder to make.
        vocab: `vocab.txt` or a tokenizer's folder; None means the `vocab.txt` beside the checkpoint.
        is_cased: Whether the vocabulary keeps capitals.
        num_heads: Attention heads of the discriminator; None means one for each 64 units of its width.
        overwrite: Replace what is in `output`.

    Raises:
        CheckpointError: If the checkpoint is missing, damaged, or none of the original ELECTRA code.
        DataError: If the vocabulary is missing, or longer than the table of the networks.
    """
    output = Path(output)
    prefix = find_checkpoint(Path(checkpoint))
    refuse_existing(output, overwrite=overwrite, inputs=[prefix, vocab])
    place = Path(vocab) if vocab is not None else prefix.with_name("vocab.txt")
    if vocab is None and not place.is_file():
        raise DataError(f"{place}: not there. Give the checkpoint's vocabulary: --vocab vocab.txt.")
    tokenizer = load_tokenizer(place, is_cased=is_cased or None)
    pair = read_pair(read_bundle(prefix), num_heads=num_heads, pad_token_id=tokenizer.pad_id)
    networks: dict[str, Network] = {}
    if pair.discriminator is not None:
        networks["discriminator"] = pair.discriminator
    if pair.generator is not None:
        networks["generator"] = pair.generator
    for network in networks.values():
        _check_vocabulary(network, tokenizer, place)
    if isinstance(pair.discriminator, ElectraModel):
        _LOG.warning("%s: has no head of the discriminator, so discriminator/ is the body alone.", prefix)
    with new_folder(output) as folder:
        for role, network in networks.items():
            _write(network, tokenizer, folder / role, role=role, source=prefix.name)
    return ImportReport(
        output=output,
        checkpoint=prefix,
        num_parameters={role: sum(one.numel() for one in network.parameters()) for role, network in networks.items()},
        vocab_size=tokenizer.vocab_size,
        num_heads={role: network.config.num_attention_heads for role, network in networks.items()},
    )


def _check_vocabulary(network: Network, tokenizer: Tokenizer, place: Path) -> None:
    rows = network.config.vocab_size
    if tokenizer.vocab_size > rows:
        raise DataError(f"{place}: {tokenizer.vocab_size} tokens, but the checkpoint's table has {rows} rows.")
    if tokenizer.vocab_size < rows:
        _LOG.warning("%s: %d tokens for a table of %d rows; is it the right one?", place, tokenizer.vocab_size, rows)


def _write(network: Network, tokenizer: Tokenizer, folder: Path, *, role: str, source: str) -> None:
    save_model(network, folder, electrify={"version": __version__, "role": role, "imported_from": source})
    tokenizer.save(folder, max_length=network.config.max_position_embeddings)
    card = (
        f"# {role.capitalize()} of an original ELECTRA checkpoint\n\n"
        f"`{type(network).__name__}`, converted from the TensorFlow checkpoint `{source}` by electrify {__version__}.\n"
    )
    write_text(folder / "README.md", card)
    write_manifest(folder, leave_out=["README.md"])
