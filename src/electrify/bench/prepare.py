"""`bench prepare`: raw text to token ids, in bytes of text a second and core, and whether all ids are equal."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from electrify.bench.comparison import Comparison, compare
from electrify.bench.peers import Contender, find_peers
from electrify.bench.rounds import Rounds, run_rounds
from electrify.data.rejects import Rejects
from electrify.data.shards import open_shards
from electrify.data.sources import SourceOptions, find_files, read_documents
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError
from electrify.verbs.prepare import prepare

OURS = Contender("electrify", "electrify.bench.prepare", "build_prepare", "")
_WARM_BYTES = 200_000


def bench_prepare(
    corpus: Sequence[str | Path],
    *,
    tokenizer: str | Path,
    megabytes: float = 10.0,
    length: int = 128,
    rounds: int = 5,
    peers: str | Path | None = None,
    only: Sequence[str] | None = None,
    source_options: SourceOptions | None = None,
) -> Comparison:
    """Time `prepare` in one process on the beginning of a corpus.

    electrify reads, checks, tokenizes, packs and writes; what the peers do their files say.

    Args:
        corpus: Files, folders and globs.
        tokenizer: Folder of the tokenizer.
        megabytes: Text to take, in millions of bytes of UTF-8.
        length: Tokens of a row.
        rounds: How often each contender has its turn.
        peers: Folder of peers; None measures electrify alone.
        only: Names of the peers to take; None takes all.
        source_options: How documents are found.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If the corpus can not be read.
        BenchError: If electrify fails.
    """
    if megabytes <= 0:
        raise ConfigError(f"megabytes must be above 0, got {megabytes}.")
    found, missing = find_peers(peers, "prepare", only=only)
    contenders = [OURS, *found]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        num_bytes, num_documents = _copy_documents(corpus, source_options, folder, limit=int(megabytes * 1e6))
        (folder / "tokenizer").mkdir()
        load_tokenizer(tokenizer).save(folder / "tokenizer")  # a bare vocab.txt opens in Transformers so
        work = {
            "corpora": [str(folder / "warm.jsonl"), str(folder / "corpus.jsonl")],
            "tokenizer": str(folder / "tokenizer"),
            "length": length,
            "output": place,
        }
        threads = {name: os.environ.get(name) for name in ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM")}
        os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")  # a core each: workers inherit it
        try:
            done = run_rounds(contenders, work, rounds=rounds, units=1, size=lambda _: num_bytes)
        finally:
            for name, value in threads.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    settings = {
        "corpus": ", ".join(map(str, corpus)), "documents": num_documents, "megabytes": round(num_bytes / 1e6, 2),
        "length": length, "processes": 1, "rounds": rounds,
    }  # fmt: skip
    return compare(
        "Text to token ids", "MB/s", done, contenders=contenders, missing=missing, settings=settings,
        notes=[_say_equality(done)],
    )  # fmt: skip


def digest_ids(ids: NDArray[np.integer], lengths: NDArray[np.integer]) -> str:
    """Return the digest of the documents' ids without special tokens, empty documents left out."""
    state = xxhash.xxh3_128(ids.astype("<u4").tobytes())
    state.update(lengths[lengths > 0].astype("<u4").tobytes())
    return state.hexdigest()


def _say_equality(done: Rounds) -> str:
    ours, *others = done.measured
    different = [one.name for one in others if one.inspection != ours.inspection]
    if different:
        return f"Other ids than electrify's: {', '.join(different)}"
    return "All ids are equal." if others else f"Digest of the ids: {ours.inspection}"


def _copy_documents(
    corpus: Sequence[str | Path], options: SourceOptions | None, folder: Path, *, limit: int
) -> tuple[int, int]:
    """Write the first documents as JSON lines, a few of them once more for the warm-up; return bytes and documents."""
    options = options or SourceOptions()
    num_bytes = num_documents = 0
    with (folder / "corpus.jsonl").open("wb") as file, (folder / "warm.jsonl").open("wb") as warm:
        for document in read_documents(find_files(corpus), options, Rejects(options.max_bad_share), label="Reading"):
            line = orjson.dumps({"text": document}, option=orjson.OPT_APPEND_NEWLINE)
            file.write(line)
            if num_bytes < _WARM_BYTES:
                warm.write(line)
            num_bytes += len(document.encode())
            num_documents += 1
            if num_bytes >= limit:
                break
    return num_bytes, num_documents


class _Preparation:
    def __init__(self, work: dict[str, Any]) -> None:
        self._work = work
        self._output = Path(work["output"]) / "electrify"

    def __call__(self, number: int) -> None:
        shutil.rmtree(self._output, ignore_errors=True)
        prepare(
            [self._work["corpora"][min(number, 1)]],
            tokenizer=self._work["tokenizer"],
            output=self._output,
            max_length=self._work["length"],
            validation_share=0.0,
            processes=1,
        )

    def inspect(self) -> str:
        """Return the digest of the ids that were written; a dense folder has one [SEP] behind each document."""
        shards = open_shards(self._output)
        stream = np.asarray(shards.stream("train", max_tokens=shards.num_tokens("train")))
        ends = [np.fromfile(path, dtype="<u8").astype(np.int64) for path in sorted(self._output.rglob("*.ds.index"))]
        lengths = np.concatenate([of_shard - np.concatenate([[0], of_shard[:-1]]) for of_shard in ends])
        return digest_ids(np.delete(stream, np.cumsum(lengths) - 1), lengths - 1)


def build_prepare(work: dict[str, Any]) -> _Preparation:
    """Return what prepares the warm-up's documents when called with 0, and all of them when called with more."""
    return _Preparation(work)
