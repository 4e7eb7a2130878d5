import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electrify.data.cleaning import CleaningCounts
from electrify.data.encoding import DocumentEncoder, EncodedBatch
from electrify.data.packing import ROW_DTYPE
from electrify.data.shard_writer import ShardWriter
from electrify.data.shards import ShardFolder, open_shards, token_dtype
from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import DataError
from electrify.verbs.prepare import prepare

WORDS = [f"w{number}" for number in range(300)]
PAD, CLS, SEP = 0, 2, 3


def tokenizer() -> Tokenizer:
    return from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True)


def words(start: int, count: int) -> str:
    return " ".join(WORDS[start : start + count])


def make(folder: Path, documents: list[str], **settings_: object) -> ShardFolder:
    folder.mkdir(exist_ok=True)
    tokenizer().save(folder)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    defaults = {
        "tokenizer": folder,
        "output": folder / "out",
        "max_length": 10,
        "validation_share": 0.0,
        "overwrite": True,
    }
    prepare([folder / "corpus.jsonl"], **{**defaults, **settings_})
    return open_shards(folder / "out", verify=True)


def test_a_dense_row_reads_as_the_network_sees_it(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 3), words(10, 9)])  # stream: w0 w1 w2 [SEP] w10 … w18 [SEP]
    rows = shards.rows("train", np.array([0, 1]))
    ids = tokenizer().encode_plain([words(0, 3), words(10, 9)])
    stream = [*ids[0], SEP, *ids[1], SEP]
    assert rows.input_ids.tolist() == [[CLS, *stream[:8], SEP], [CLS, *stream[8:], SEP, PAD, PAD]]
    assert rows.lengths.tolist() == [10, 8]
    assert rows.document_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, -1, -1]]
    assert rows.token_type_ids is None
    assert shards.num_tokens("train") == 14
    assert shards.max_length == 10


def test_rows_may_be_asked_for_in_any_order_and_are_padded_to_the_longest_asked_for(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 3), words(10, 9)])
    assert shards.rows("train", np.array([1])).input_ids.shape == (1, 8)
    swapped = shards.rows("train", np.array([1, 0]))
    assert np.array_equal(swapped.input_ids[::-1], shards.rows("train", np.array([0, 1])).input_ids)


def test_pieces_begin_anew_with_each_document(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 9), words(10, 2)], pack="pieces")
    decoded = [tokenizer().decode(ids) for ids in shards.rows("train", np.arange(3)).input_ids]
    assert decoded == [words(0, 8), words(8, 1), words(10, 2)]
    assert shards.rows("train", np.arange(3)).document_ids.max() == 0


def test_segments_have_their_types(tmp_path: Path) -> None:
    lines = "\n".join(words(start, 2) for start in range(0, 200, 2))
    shards = make(tmp_path, [lines], pack="segments", max_length=16)
    rows = shards.rows("train", np.arange(shards.num_rows("train")))
    assert rows.token_type_ids is not None
    has_pair = rows.token_type_ids.any(axis=1)
    assert 0 < has_pair.sum() < len(has_pair) or has_pair.all()
    for ids, types, length, paired in zip(rows.input_ids, rows.token_type_ids, rows.lengths, has_pair, strict=True):
        assert ids[0] == CLS
        assert ids[length - 1] == SEP
        assert (ids[:length] == SEP).sum() == 1 + paired
        assert types[:length].tolist() == sorted(types[:length])
        if paired:
            border = ids.tolist().index(SEP)
            assert types[: border + 1].max() == 0
            assert types[border + 1 : length].min() == 1
        assert not types[length:].any()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(8, 20), st.integers(1, 80))
def test_dense_rows_put_together_are_the_corpus(
    tmp_path: Path, lengths: list[int], max_length: int, shard_tokens: int
) -> None:
    documents = [words(nth, length) for nth, length in enumerate(lengths)]
    shards = make(tmp_path, documents, max_length=max_length, shard_tokens=shard_tokens)
    rows = shards.rows("train", np.arange(shards.num_rows("train")))
    stream, borders = [], []
    for ids, length, in_row in zip(rows.input_ids, rows.lengths, rows.document_ids, strict=True):
        stream += ids[1 : length - 1].tolist()
        borders += np.diff(in_row[1 : length - 1], prepend=0).tolist()
    expected = [token for ids in tokenizer().encode_plain(documents) for token in [*ids, SEP]]
    assert stream == expected
    # Within a row the count rises exactly behind a document's [SEP].
    position = 0
    for length in rows.lengths - 2:
        inside = slice(position + 1, position + length)
        assert borders[inside] == [int(token == SEP) for token in expected[position : position + length - 1]]
        position += length


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 60), st.data())
def test_bytes_do_not_depend_on_how_documents_came_in_batches(
    tmp_path: Path, lengths: list[int], shard_tokens: int, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lengths)))) | {len(lengths)})
    written = []
    for name, borders in (("one", [len(lengths)]), ("many", cuts)):
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        encoder = DocumentEncoder(tokenizer(), "dense", 10, 0.0)
        writer = ShardWriter(folder, encoder, dtype=token_dtype(305), shard_tokens=shard_tokens)
        first = 0
        for border in borders:
            writer.add(batch_of(lengths, first, border), np.ones(border - first, dtype=bool))
            first = border
        summary = writer.finish()
        written.append((summary, {path.name: path.read_bytes() for path in folder.iterdir()}))
    assert written[0] == written[1]


def batch_of(lengths: list[int], first: int, last: int) -> EncodedBatch:
    starts = np.cumsum([0, *lengths])
    count = last - first
    return EncodedBatch(
        token_ids=np.arange(starts[first], starts[last], dtype=np.uint32),
        document_lengths=np.array(lengths[first:last], dtype=np.int64),
        is_validation=np.zeros(count, dtype=bool),
        rows_per_document=np.zeros(count, dtype=np.int64),
        row_lengths=np.zeros((0, 2), dtype=np.int64),
        text_hashes=np.zeros(count, dtype=np.uint64),
        num_letters=np.ones(count, dtype=np.int64),
        compression_bins=np.full(count, -1, dtype=np.int8),
        places=[f"corpus:{number}" for number in range(first, last)],
        num_without_tokens=0,
        num_cut=0,
        cleaning=CleaningCounts(),
        signatures=np.zeros((0, 0), dtype=np.uint64),
    )


def test_small_vocabularies_take_two_bytes_a_token_and_large_ones_four() -> None:
    assert token_dtype(1 << 16) == np.dtype("<u2")
    assert token_dtype((1 << 16) + 1) == np.dtype("<u4")


def test_row_number_out_of_range_is_an_error(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 3)])
    with pytest.raises(IndexError, match=r"\[0, 1\), got 1 to 1"):
        shards.rows("train", np.array([1]))
    with pytest.raises(IndexError):
        shards.rows("train", np.array([-1]))


@pytest.mark.parametrize(
    "name", ["train/00000.ds", "train/00000.ds.index", "train/00000.rows", "tokenizer/tokenizer.json"]
)
def test_file_cut_short_or_missing_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, [words(0, 30)]).path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}: .*cut short or altered"):
        open_shards(tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match=f"{name}: missing"):
        open_shards(tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["train/00000.ds", "train/00000.ds.index", "train/00000.rows", "tokenizer/tokenizer.json"]
)
def test_one_flipped_bit_is_found_by_verify(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, [words(0, 30)]).path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: altered"):
        open_shards(tmp_path / "out", verify=True)


def test_numbers_that_cannot_be_are_refused_when_a_row_is_read(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 30)])
    path = shards.path / "train/00000.ds"
    kept = path.read_bytes()
    path.write_bytes(b"\xff\xff" + kept[2:])
    with pytest.raises(DataError, match=r"train: token 65,535 where the vocabulary has 305: .* altered or damaged"):
        open_shards(shards.path).rows("train", np.array([0]))
    path.write_bytes(kept)
    path = shards.path / "train/00000.rows"
    rows = np.fromfile(path, dtype=ROW_DTYPE)
    rows["length_a"][0] = 60_000
    rows.tofile(path)
    with pytest.raises(DataError, match=r"train: a row of 60,002 tokens where 10 are the most"):
        open_shards(shards.path).rows("train", np.array([0]))


def test_folder_without_manifest_or_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, [words(0, 3)]).path
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": "other-9"}))
    with pytest.raises(DataError, match="format 'other-9'"):
        open_shards(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        open_shards(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json"):
        open_shards(folder)


def test_tokenizer_that_did_not_make_the_ids_is_refused(tmp_path: Path) -> None:
    shards = make(tmp_path, [words(0, 3)])
    assert shards.tokenizer().digest == tokenizer().digest
    other = from_vocabulary([*SPECIAL_TOKENS, *reversed(WORDS)], is_cased=True)
    with pytest.raises(DataError, match="built with another tokenizer"):
        shards.require_tokenizer(other)
    other.save(shards.path / "tokenizer")
    with pytest.raises(DataError, match="built with another tokenizer"):
        ShardFolder(shards.path, shards.manifest).tokenizer()
