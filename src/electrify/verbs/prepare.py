"""`prepare`: raw text to a folder of token shards that training reads."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify.config import CleaningConfig, ExecutorConfig
from electrify.data.cleaning import Cleaner
from electrify.data.encoding import DocumentEncoder, Pack
from electrify.data.shards import FORMAT, Part, token_dtype
from electrify.data.sources import SourceOptions, find_files
from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, DataError, did_you_mean
from electrify.files import digest_file, new_folder, refuse_existing, sealed, write_json
from electrify.verbs.parts import Written, stream_parts, write_parts_from_pieces

_LOG = logging.getLogger(__name__)
_PACKS = ("dense", "pieces", "segments")
_SMALL_CORPUS_BYTES = 4 << 20  # starting a worker takes longer than tokenizing this much


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What became of a corpus."""

    output: Path
    num_files: int
    num_documents: int
    """Documents in the folder, both parts."""
    num_bytes: int
    """Size of the text that was read, in bytes of UTF-8."""
    num_train_tokens: int
    num_validation_tokens: int
    num_train_rows: int
    num_validation_rows: int
    num_rejected: dict[str, int]
    """Records that could not be used, by kind."""
    rejected_places: str
    """The first of them, with their places; empty if there are none."""
    num_removed: dict[str, int]
    """Documents that cleaning left out, by reason."""
    num_repaired: int
    """Documents that cleaning changed."""
    num_without_tokens: int
    """Documents of which the tokenizer left nothing."""
    num_cut_tokens: int
    """Tokens that did not fit into segments; 0 for other kinds of packing."""
    seconds: float


def prepare(
    corpus: str | Path | Sequence[str | Path],
    *,
    tokenizer: str | Path,
    output: str | Path,
    max_length: int = 128,
    pack: Pack = "dense",
    validation_share: float = 0.01,
    validation: Sequence[str | Path] | None = None,
    processes: int | None = None,
    overwrite: bool = False,
    source_options: SourceOptions | None = None,
    cleaning: CleaningConfig | None = None,
    executor: ExecutorConfig | None = None,
    shard_tokens: int = 64_000_000,
) -> PrepareReport:
    """Tokenize a corpus and write it as rows for training.

    The folder's bytes depend on the corpus, the tokenizer and the settings, not on the number of processes or machines.
    It appears under its name only when it is complete.

    Args:
        corpus: Files, folders and globs.
        tokenizer: Folder with tokenizer.json or vocab.txt, or one of the two.
        output: The folder to make.
        max_length: Tokens of a row, special tokens included, in [8, 65,535].
        pack: How rows are cut; see `data.packing`.
        validation_share: Share of documents, chosen by the hash of their text, that is kept from training, in [0, 1).
        validation: Files, folders and globs of the validation part instead; the corpus is then used whole, without
            those of these files that it contains.
        processes: Worker processes; None means one a core, one in all for a small corpus.
        overwrite: Replace an existing folder, when the new one is complete.
        source_options: How documents are found; None means the defaults.
        cleaning: What is repaired and left out; None means nothing.
        executor: Where to work; None means this machine. On a cluster, and for near-duplicates, intermediate files go
            into `OUTPUT.work`: an interrupted call goes on from there, a finished one removes it.
        shard_tokens: Tokens after which a shard is closed.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If a file, the tokenizer or the output cannot be used, too much is bad, or no text is left.
    """
    started = time.monotonic()
    output = Path(output)
    options = source_options or SourceOptions()
    _check_settings(max_length, pack, validation_share, processes, shard_tokens)
    files = _find_parts(corpus, validation)
    refuse_existing(
        output, overwrite=overwrite, inputs=[*(path for some in files.values() for path in some), tokenizer]
    )
    used_tokenizer = load_tokenizer(tokenizer)
    with new_folder(output) as folder:
        (folder / "tokenizer").mkdir()
        used_tokenizer.save(folder / "tokenizer", max_length=max_length)
        share = 0.0 if validation else validation_share
        cleaner = Cleaner(cleaning) if cleaning else None
        encoder = DocumentEncoder(used_tokenizer, pack, max_length, share, cleaner)
        num_processes = processes or _default_processes(files)
        if _needs_pieces(cleaning, executor):
            where = executor or ExecutorConfig()
            work = output.with_name(output.name + ".work")
            written = write_parts_from_pieces(folder, work, files, encoder, options, shard_tokens, num_processes, where)
        else:
            written = stream_parts(folder, files, encoder, options, shard_tokens, num_processes)
        if cleaning:
            write_json(folder / "cleaning.json", written.cleaning.to_json())
        settings = {
            "max_length": max_length,
            "pack": pack,
            "validation_share": share,
            "shard_tokens": shard_tokens,
            "sources": asdict(options),
            "cleaning": cleaning.model_dump(mode="json") if cleaning else None,
        }
        write_json(folder / "manifest.json", sealed(_manifest(folder, files, used_tokenizer, settings, written)))
    if not written.parts["validation"]["num_rows"]:
        _LOG.warning(
            "%s: nothing is held out, so pre-training will have no held-out figures. Set a larger share of the "
            "documents (--validation-share), or give files of their own (--validation).",
            output,
        )
    return _report(output, files, written, time.monotonic() - started)


def _check_settings(
    max_length: int, pack: str, validation_share: float, processes: int | None, shard_tokens: int
) -> None:
    if not 8 <= max_length <= 65_535:
        raise ConfigError(f"max_length must be in [8, 65535], got {max_length}.")
    if pack not in _PACKS:
        raise ConfigError(f"pack must be one of {', '.join(_PACKS)}, got {pack!r}.{did_you_mean(pack, _PACKS)}")
    if not 0 <= validation_share < 1:
        raise ConfigError(f"validation_share must be in [0, 1), got {validation_share}.")
    if processes is not None and processes < 1:
        raise ConfigError(f"processes must be at least 1, got {processes}.")
    if shard_tokens < 1:
        raise ConfigError(f"shard_tokens must be at least 1, got {shard_tokens}.")


def _find_parts(
    corpus: str | Path | Sequence[str | Path], validation: Sequence[str | Path] | None
) -> dict[Part, list[Path]]:
    """Return the files of both parts; files of the validation part that lie in the corpus are taken out of it."""
    held_out = find_files(validation) if validation else []
    resolved = {path.resolve() for path in held_out}
    train = [path for path in find_files(corpus) if path.resolve() not in resolved]
    if not train:
        raise DataError("Every file of the corpus is in the validation part, nothing is left to train on. Name more.")
    return {"train": train, "validation": held_out}


def _needs_pieces(cleaning: CleaningConfig | None, executor: ExecutorConfig | None) -> bool:
    is_elsewhere = executor is not None and executor.kind != "local"
    return is_elsewhere or (cleaning is not None and cleaning.duplicates == "near")


def _default_processes(files: dict[Part, list[Path]]) -> int:
    num_bytes = sum(path.stat().st_size for paths in files.values() for path in paths)
    return 1 if num_bytes < _SMALL_CORPUS_BYTES else os.cpu_count() or 1


def _manifest(
    folder: Path,
    files: dict[Part, list[Path]],
    tokenizer: Tokenizer,
    settings: dict[str, Any],
    written: Written,
) -> dict[str, Any]:
    """Describe the finished folder; nothing in it depends on the time, the machine or the place."""
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": FORMAT,
        "settings": settings,
        "tokenizer_digest": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "special_ids": dict(zip(SPECIAL_TOKENS, tokenizer.special_ids, strict=True)),
        "token_dtype": token_dtype(tokenizer.vocab_size).str,
        "sources": {
            part: [{"name": path.name, "bytes": path.stat().st_size} for path in paths] for part, paths in files.items()
        },
        "num_bytes": sum(rejects.num_bytes for rejects in written.rejects.values()),
        "rejected": written.rejected(),
        "removed": dict(sorted(written.cleaning.removed.items())),
        "num_without_tokens": written.num_without_tokens,
        "num_cut_tokens": written.num_cut_tokens,
        "train": written.parts["train"],
        "validation": written.parts["validation"],
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "digest": digest_file(path)}
            for path in inside
        },
    }


def _report(output: Path, files: dict[Part, list[Path]], written: Written, seconds: float) -> PrepareReport:
    train, validation = written.parts["train"], written.parts["validation"]
    return PrepareReport(
        output=output,
        num_files=sum(map(len, files.values())),
        num_documents=train["num_documents"] + validation["num_documents"],
        num_bytes=sum(rejects.num_bytes for rejects in written.rejects.values()),
        num_train_tokens=train["num_tokens"],
        num_validation_tokens=validation["num_tokens"],
        num_train_rows=train["num_rows"],
        num_validation_rows=validation["num_rows"],
        num_rejected=written.rejected(),
        rejected_places=written.places(),
        num_removed=dict(sorted(written.cleaning.removed.items())),
        num_repaired=written.cleaning.num_repaired,
        num_without_tokens=written.num_without_tokens,
        num_cut_tokens=written.num_cut_tokens,
        seconds=seconds,
    )
