"""Write the token shards that `shards` reads: one writer a part, documents in order, in bounded memory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from electrify.data.encoding import DocumentEncoder, EncodedBatch
from electrify.data.packing import ROW_DTYPE, dense_rows, piece_rows


@dataclass
class _OpenShard:
    stem: str
    file: BinaryIO
    num_tokens: int = 0
    ends: list[NDArray[np.int64]] = field(default_factory=list)
    row_lengths: list[NDArray[np.int64]] = field(default_factory=list)


class ShardWriter:
    """Write one part of a folder.

    A shard ends with the document that takes it over `shard_tokens`, so where it ends does not depend on how documents
    came in batches. Nothing is written for a part without documents.

    Args:
        folder: The part's folder, made if there is something to write.
        encoder: How the documents are encoded: packing and longest row.
        dtype: Of the token ids.
        shard_tokens: Tokens after which a shard is closed.
    """

    def __init__(
        self, folder: Path, encoder: DocumentEncoder, *, dtype: np.dtype[np.unsignedinteger], shard_tokens: int
    ) -> None:
        self._folder = folder
        self._pack = encoder.pack
        self._max_length = encoder.max_length
        self._dtype = dtype
        self._shard_tokens = shard_tokens
        self._shard: _OpenShard | None = None
        self._done: list[dict[str, Any]] = []

    def add(self, batch: EncodedBatch, chosen: NDArray[np.bool_]) -> None:
        """Write the chosen documents of a batch.

        Args:
            batch: The documents.
            chosen: Which of them belong to this part, (D,) bool.
        """
        lengths = batch.document_lengths[chosen]
        token_ids = batch.token_ids[np.repeat(chosen, batch.document_lengths)]
        num_rows = batch.rows_per_document[chosen]
        row_lengths = batch.row_lengths[np.repeat(chosen, batch.rows_per_document)]
        first = 0
        while first < len(lengths):
            shard = self._shard or self._open()
            ends = shard.num_tokens + np.cumsum(lengths[first:])
            here = min(int(np.searchsorted(ends, self._shard_tokens)) + 1, len(ends))
            num_tokens, num_rows_here = (
                int(lengths[first : first + here].sum()),
                int(num_rows[first : first + here].sum()),
            )
            shard.file.write(token_ids[:num_tokens].astype(self._dtype).tobytes())
            shard.num_tokens += num_tokens
            shard.ends.append(ends[:here])
            shard.row_lengths.append(row_lengths[:num_rows_here])
            token_ids, row_lengths, first = token_ids[num_tokens:], row_lengths[num_rows_here:], first + here
            if shard.num_tokens >= self._shard_tokens:
                self._close()

    def finish(self) -> dict[str, Any]:
        """Close the last shard and return what the manifest says about this part."""
        if self._shard:
            self._close()
        totals = {key: sum(shard[key] for shard in self._done) for key in ("num_documents", "num_tokens", "num_rows")}
        return {**totals, "shards": self._done}

    def abort(self) -> None:
        """Close the open file without finishing it."""
        if self._shard:
            self._shard.file.close()
            self._shard = None

    def _open(self) -> _OpenShard:
        self._folder.mkdir(exist_ok=True)
        stem = f"{len(self._done):05}"
        self._shard = _OpenShard(stem, (self._folder / f"{stem}.ds").open("wb"))
        return self._shard

    def _close(self) -> None:
        shard = self._shard
        assert shard is not None
        shard.file.close()
        ends = np.concatenate(shard.ends)
        rows = self._cut_rows(shard, ends)
        (self._folder / f"{shard.stem}.ds.index").write_bytes(ends.astype("<u8").tobytes())
        (self._folder / f"{shard.stem}.rows").write_bytes(rows.tobytes())
        self._done.append(
            {"name": shard.stem, "num_documents": len(ends), "num_tokens": shard.num_tokens, "num_rows": len(rows)}
        )
        self._shard = None

    def _cut_rows(self, shard: _OpenShard, ends: NDArray[np.int64]) -> NDArray[np.void]:
        if self._pack == "dense":
            return dense_rows(shard.num_tokens, self._max_length)
        if self._pack == "pieces":
            return piece_rows(ends, self._max_length)
        lengths = np.concatenate(shard.row_lengths)  # (R, 2)
        rows = np.zeros(len(lengths), dtype=ROW_DTYPE)
        rows["start"] = np.cumsum(lengths.sum(axis=1)) - lengths.sum(axis=1)
        rows["length_a"], rows["length_b"] = lengths.T
        return rows
