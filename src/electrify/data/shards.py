"""The folder of token shards that `prepare` makes and training reads.

    manifest.json        counts, settings, tokenizer digest, size and digest of every file
    tokenizer/           the tokenizer that made the ids
    train/00000.ds       token ids one after another, uint16 (vocabularies up to 65,536) or uint32, little-endian
    train/00000.ds.index where each document ends in it, uint64, rising
    train/00000.rows     which stretches are rows, `packing.ROW_DTYPE`
    validation/…         the same

`.ds` and `.ds.index` are datatrove's format. Files are read through memory maps: a folder may be larger than memory.
In `dense` folders one [SEP] follows each document and belongs to it. [CLS] and the outer [SEP] are not stored; they are
put around a row when it is read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from electrify.data.packing import ROW_DTYPE
from electrify.data.remote import RemoteFolder, is_remote
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import DataError
from electrify.files import digest_file, is_sealed, read_json

FORMAT = "electrify-shards-1"
Part = Literal["train", "validation"]
PARTS: tuple[Part, Part] = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as a network reads it, padded to its longest row."""

    input_ids: NDArray[np.int64]  # (B, T)
    lengths: NDArray[np.int64]  # (B,) real tokens of each row
    token_type_ids: NDArray[np.int64] | None  # (B, T); None if no row of the folder is a pair
    document_ids: NDArray[np.int32]  # (B, T) document of each token, counted within the row from 0; padding −1


@dataclass(frozen=True, slots=True)
class _Shard:
    tokens: NDArray[np.unsignedinteger]
    ends: NDArray[np.uint64]
    rows: NDArray[np.void]


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest type that holds every id: little-endian uint16 or uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class ShardFolder:
    """A complete folder of shards; made by `open_shards`.

    Attributes:
        path: The folder.
        manifest: What `manifest.json` says.
        digest: Of the manifest, and so of all data and settings; identifies the data in a run.
        max_length: Most tokens of a row, special tokens included.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], remote: RemoteFolder | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = xxhash.xxh3_128((path / "manifest.json").read_bytes()).hexdigest()
        self.max_length: int = manifest["settings"]["max_length"]
        self._specials: dict[str, int] = manifest["special_ids"]
        self._remote = remote
        self._shards: dict[tuple[Part, int], _Shard] = {}  # those that were needed so far
        self._first_rows = {
            part: np.cumsum([0, *(shard["num_rows"] for shard in manifest[part]["shards"])]) for part in PARTS
        }

    def _shard(self, part: Part, number: int) -> _Shard:
        """Open a shard when it is first needed, and fetch it if it lies elsewhere."""
        if (part, number) not in self._shards:
            shard = self.manifest[part]["shards"][number]
            names = [f"{part}/{shard['name']}{ending}" for ending in (".ds", ".ds.index", ".rows")]
            for name in names if self._remote else ():
                assert self._remote is not None
                self._remote.fetch(name, self.manifest["files"][name])
            tokens, ends, rows = names
            opened = _Shard(
                tokens=np.memmap(self.path / tokens, dtype=np.dtype(self.manifest["token_dtype"]), mode="r"),
                ends=np.memmap(self.path / ends, dtype="<u8", mode="r"),
                rows=np.memmap(self.path / rows, dtype=ROW_DTYPE, mode="r"),
            )
            if len(opened.rows) != shard["num_rows"]:
                raise DataError(f"{self.path / rows}: {len(opened.rows):,} rows, expected {shard['num_rows']:,}.")
            self._shards[part, number] = opened
        return self._shards[part, number]

    def tokenizer(self) -> Tokenizer:
        """Load the tokenizer that made the ids.

        Raises:
            DataError: If the one in the folder is another.
        """
        tokenizer = load_tokenizer(self.path / "tokenizer")
        self.require_tokenizer(tokenizer, name=f"{self.path / 'tokenizer'}")
        return tokenizer

    def require_tokenizer(self, tokenizer: Tokenizer, *, name: str = "the tokenizer") -> None:
        """Stop if ids of another tokenizer would be mixed with these.

        Raises:
            DataError: If `tokenizer` is not the one the folder was built with.
        """
        expected = self.manifest["tokenizer_digest"]
        if tokenizer.digest != expected:
            raise DataError(
                f"{self.path}: built with another tokenizer (digest {expected[:8]}) than {name} (digest "
                f"{tokenizer.digest[:8]}). Prepare the corpus again with this tokenizer, or use the folder's own."
            )

    def num_rows(self, part: Part) -> int:
        """Return the number of rows of a part."""
        return int(self._first_rows[part][-1])

    def num_tokens(self, part: Part) -> int:
        """Return the number of stored tokens of a part; [CLS] and the outer [SEP] not counted."""
        return int(self.manifest[part]["num_tokens"])

    def stream(self, part: Part, *, max_tokens: int) -> NDArray[np.unsignedinteger]:
        """Return the first stored tokens of a part, at most `max_tokens`, as one array."""
        pieces, left = [], max_tokens
        for number in range(len(self.manifest[part]["shards"])):
            if left:
                pieces.append(np.asarray(self._shard(part, number).tokens[:left]))
                left -= len(pieces[-1])
        return np.concatenate(pieces)

    def shards_of(self, part: Part, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the number of the shard that each row lies in, (B,): what a host has to hold to read its rows."""
        return np.searchsorted(self._first_rows[part], np.asarray(indices, dtype=np.int64), side="right") - 1

    def rows(self, part: Part, indices: NDArray[np.integer]) -> Rows:
        """Read rows.

        Args:
            part: Which part of the folder.
            indices: Row numbers, (B,), in any order, B ≥ 1.

        Raises:
            IndexError: If a number is outside of [0, num_rows).
            DataError: If a row is longer than the folder's rows may be, or has a token that its vocabulary has not.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.min() < 0 or indices.max() >= self.num_rows(part):
            raise IndexError(f"rows must be in [0, {self.num_rows(part)}), got {indices.min()} to {indices.max()}")
        which = self.shards_of(part, indices)
        records = np.empty(len(indices), dtype=ROW_DTYPE)
        shards = np.unique(which)
        for shard in shards:
            here = which == shard
            records[here] = self._shard(part, int(shard)).rows[indices[here] - self._first_rows[part][shard]]
        length_a, length_b = records["length_a"].astype(np.int64), records["length_b"].astype(np.int64)
        lengths = length_a + 2 + length_b + (length_b > 0)
        if lengths.max() > self.max_length:
            raise self._altered(part, f"a row of {lengths.max():,} tokens where {self.max_length:,} are the most")
        columns = np.arange(lengths.max())  # (T,)
        input_ids = np.empty((len(indices), len(columns)), dtype=np.int64)
        document_ids = np.zeros(input_ids.shape, dtype=np.int32)
        # Column c holds token c − 1 of the row, and c − 2 once the [SEP] behind A has passed.
        offsets = columns - 1 - (columns > length_a[:, None] + 1)  # (B, T)
        positions = records["start"].astype(np.int64)[:, None] + offsets
        for shard in shards:
            here = np.flatnonzero(which == shard)
            _gather(self._shard(part, int(shard)), records[here], positions[here], here, input_ids, document_ids)
        if input_ids.max() >= self.manifest["vocab_size"]:
            size = self.manifest["vocab_size"]
            raise self._altered(part, f"token {input_ids.max():,} where the vocabulary has {size:,}")
        self._add_special(input_ids, lengths, length_a)
        is_padding = columns >= lengths[:, None]
        input_ids[is_padding] = self._specials["[PAD]"]
        document_ids[is_padding] = -1
        types = ((columns > length_a[:, None] + 1) & ~is_padding).astype(np.int64) if self._has_pairs else None
        return Rows(input_ids, lengths, types, document_ids)

    def _altered(self, part: Part, what: str) -> DataError:
        return DataError(f"{self.path / part}: {what}: a file was altered or damaged. Prepare the corpus again.")

    @property
    def _has_pairs(self) -> bool:
        return bool(self.manifest["settings"]["pack"] == "segments")

    def _add_special(
        self,
        input_ids: NDArray[np.int64],
        lengths: NDArray[np.int64],
        length_a: NDArray[np.int64],
    ) -> None:
        nth = np.arange(len(lengths))
        input_ids[:, 0] = self._specials["[CLS]"]
        input_ids[nth, length_a + 1] = self._specials["[SEP]"]
        input_ids[nth, lengths - 1] = self._specials["[SEP]"]


def _gather(
    shard: _Shard,
    records: NDArray[np.void],
    positions: NDArray[np.int64],
    here: NDArray[np.int64],
    input_ids: NDArray[np.int64],
    document_ids: NDArray[np.int32],
) -> None:
    """Fill in the tokens of one shard's rows, (b, T) of the (B, T) batch, and count the document borders they cross."""
    input_ids[here] = shard.tokens[np.clip(positions, 0, len(shard.tokens) - 1)]
    start = records["start"].astype(np.int64)
    end = start + records["length_a"] + records["length_b"]
    first = np.searchsorted(shard.ends, start.astype(np.uint64), side="right")
    num_borders = np.searchsorted(shard.ends, (end - 1).astype(np.uint64), side="right") - first
    if not num_borders.any():
        return
    row = np.repeat(np.arange(len(here)), num_borders)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(num_borders) - num_borders, num_borders)
    borders = shard.ends[first[row] + nth].astype(np.int64)
    crossed = np.zeros(positions.shape, dtype=np.int32)
    crossed[row, borders - start[row] + 1] = 1  # column 0 is [CLS]
    document_ids[here] = np.cumsum(crossed, axis=1)


def open_shards(path: str | Path, *, verify: bool = False) -> ShardFolder:
    """Open a folder that `prepare` made.

    Args:
        path: The folder, or its address in object storage ("s3://…"), from where files are fetched into a cache and
            checked when they are first needed.
        verify: Read every file and compare its digest; otherwise only sizes are compared.

    Raises:
        DataError: If it is no such folder, or a file is missing, cut short or altered.
    """
    remote = RemoteFolder(str(path)) if is_remote(path) else None
    path = remote.folder if remote else Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder. Give one that `electrify prepare` made.")
    if (path / "config.json").is_file():
        raise DataError(f"{path}: a model, not shards. Give a folder that `electrify prepare` made.")
    if not (path / "manifest.json").is_file():
        raise DataError(f"{path}: no manifest.json, so not a prepared folder, or not a finished one. Run prepare.")
    manifest = read_json(path / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise DataError(f"{path}: format {manifest.get('format')!r}, expected '{FORMAT}'. Prepare the corpus again.")
    if not is_sealed(manifest):
        raise DataError(f"{path / 'manifest.json'}: altered, its seal does not fit. Prepare the corpus again.")
    for name, expected in manifest["files"].items():
        if remote and (verify or not name.startswith(PARTS)):
            remote.fetch(name, expected)
        elif remote:
            continue
        _check_file(path / name, expected, verify=verify)
    return ShardFolder(path, manifest, remote)


def _check_file(path: Path, expected: dict[str, Any], *, verify: bool) -> None:
    remedy = "Prepare the corpus again."
    if not path.is_file():
        raise DataError(f"{path}: missing. {remedy}")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise DataError(
            f"{path}: {size:,} bytes, the manifest says {expected['bytes']:,}: cut short or altered. {remedy}"
        )
    if verify and digest_file(path) != expected["digest"]:
        raise DataError(f"{path}: altered, its digest is not the one in the manifest. {remedy}")
