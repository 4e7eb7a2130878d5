import bz2
import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from electrify.data.lines import open_source
from electrify.data.records import read_rows
from electrify.data.rejects import Rejects
from electrify.data.sources import SourceOptions, find_files, read_documents
from electrify.errors import ConfigError, DataError

TEXTS = ["first document", "zweites Dokument, mit Ümlaut", "第三 😀"]
FORMATS = ["txt", "jsonl", "csv", "tsv", "parquet"]
COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress}


def content(format_: str, texts: list[str]) -> bytes:
    if format_ == "txt":
        return "\n\n".join(texts).encode()
    if format_ == "jsonl":
        return "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode()
    if format_ == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), sink)
        return sink.getvalue()
    sink_text = io.StringIO(newline="")
    writer = csv.writer(sink_text, delimiter="," if format_ == "csv" else "\t")
    writer.writerows([["id", "text"], *[[1, text] for text in texts]])
    return sink_text.getvalue().encode()


def write(path: Path, data: bytes) -> Path:
    compress = COMPRESSIONS.get(path.suffix, bytes)
    path.write_bytes(compress(data))
    return path


def read(path: Path, **options: object) -> tuple[list[str], Rejects]:
    chosen = SourceOptions(**{"max_bad_share": 1.0, **options})
    rejects = Rejects(chosen.max_bad_share)
    return list(read_documents([path], chosen, rejects)), rejects


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_and_compression_gives_the_same_documents(tmp_path: Path, format_: str, compression: str) -> None:
    path = write(tmp_path / f"corpus.{format_}{compression}", content(format_, TEXTS))
    documents, rejects = read(path)
    assert documents == TEXTS
    assert rejects.num_good == 3
    assert rejects.num_bytes == sum(len(text.encode()) for text in TEXTS)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("blank", ["a\nb", "c"]), ("line", ["a", "b", "c"]), ("file", ["a\nb\n\n \nc"])],
)
def test_txt_documents_are_what_the_option_says(tmp_path: Path, mode: str, expected: list[str]) -> None:
    path = write(tmp_path / "corpus.txt", b"a\nb\n\n \nc\n")
    assert read(path, txt_documents=mode)[0] == expected


def test_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}\r\n')
    documents, rejects = read(path)
    assert documents == ["a", "b"]
    assert not rejects.counts


def test_text_field_names_the_column(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.csv", b"text,body\nwrong,right\n")
    assert read(path, text_field="body")[0] == ["right"]


def test_csv_text_may_hold_line_ends_and_commas_in_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.csv", b'text,n\n"one,\ntwo ""x""",1\n')
    assert read(path)[0] == ['one,\ntwo "x"']


def test_quotes_in_tsv_are_letters(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.tsv", b'text\tn\n"open\t1\nplain\t2\n')
    assert read(path)[0] == ['"open', "plain"]


@pytest.mark.parametrize(
    ("name", "data", "kind", "line"),
    [
        ("a.txt", b"good\n\n\xff\xfe bad\n\nfine\n", "not UTF-8", 3),
        ("a.jsonl", b'{"text": "good"}\n{"text": "\xff"}\n{"text": "fine"}\n', "not UTF-8", 2),
        ("a.csv", b"text,n\ngood,1\n\xff,2\nfine,3\n", "not UTF-8", 3),
        ("a.tsv", b"text\tn\ngood\t1\n\xff\t2\nfine\t3\n", "not UTF-8", 3),
        ("a.jsonl", b'{"text": "good"}\n{"text": \n{"text": "fine"}\n', "broken JSON", 2),
        ("a.jsonl", b'{"text": "good"}\n["text"]\n{"text": "fine"}\n', "broken JSON", 2),
        ("a.jsonl", b'{"text": "good"}\n{"txt": "bad"}\n{"text": "fine"}\n', "missing field", 2),
        ("a.jsonl", b'{"text": "good"}\n{"text": null}\n{"text": "fine"}\n', "missing field", 2),
        ("a.jsonl", b'{"text": "good"}\n{"text": 7}\n{"text": "fine"}\n', "not a text", 2),
        ("a.jsonl", b'{"text": "good"}\n{"text": " "}\n{"text": "fine"}\n', "empty", 2),
        ("a.csv", b"text,n\ngood,1\nbad\nfine,3\n", "broken row", 3),
        ("a.csv", b'text,n\ngood,1\n"b"ad,2\nfine,3\n', "broken row", 3),
        ("a.tsv", b"text\tn\ngood\t1\nbad\t2\t3\nfine\t3\n", "broken row", 3),
        ("a.csv", b"text,n\ngood,1\n,2\nfine,3\n", "empty", 3),
        ("a.txt", b"good\n\n" + b"x" * 60 + b"\n\nfine\n", "too long", 3),
        ("a.txt", b"good\n\n" + b"xxxxxxxxx\n" * 6 + b"\nfine\n", "too long", 3),
        ("a.txt", b"good\n\nbegin\n" + b"x" * 60 + b"\nend\n\nfine\n", "too long", 3),
        ("a.jsonl", b'{"text": "good"}\n{"text": "' + b"x" * 200 + b'"}\n{"text": "fine"}\n', "too long", 2),
        ("a.csv", b"text,n\ngood,1\n" + b"x" * 200 + b",2\nfine,3\n", "too long", 3),
        ("a.csv", b'text,n\ngood,1\n"' + b'a ""b"", line\n' * 20 + b'end",2\nfine,3\n', "too long", 3),
        ("a.csv", b'text,n\ngood,1\n"begin\n' + b"x" * 200 + b'\nend",2\nfine,3\n', "too long", 3),
        ("a.csv", b'text,n\ngood,1\n"' + b"x" * 200 + b'\n",2\nfine,3\n', "too long", 3),
        ("a.csv", b'text,n\ngood,1\n"x\n",' + b'"y"' * 99 + b"\nfine,3\n", "too long", 3),
        ("a.csv", b"text,n\ngood,1\n\xe2\x82,\xac b\nfine,3\n", "not UTF-8", 3),
    ],
)
@pytest.mark.parametrize("compression", ["", ".gz", ".zst", ".bz2"])
def test_a_bad_record_is_counted_and_named_and_its_neighbours_are_kept(
    tmp_path: Path, name: str, data: bytes, kind: str, line: int, compression: str
) -> None:
    path = write(tmp_path / f"{name}{compression}", data)
    documents, rejects = read(path, max_document_bytes=50)
    assert documents == ["good", "fine"]
    assert rejects.counts == {kind: 1}
    assert f"{path}:{line}" in rejects.describe()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("blank", ["fine"]), ("file", []), ("line", ["a", "b", "fine"])],
)
def test_a_line_over_the_limit_makes_its_whole_document_too_long_once(
    tmp_path: Path, mode: str, expected: list[str]
) -> None:
    path = write(tmp_path / "a.txt", b"a\n" + b"x" * 60 + b"\nb\n\nfine\n")
    documents, rejects = read(path, max_document_bytes=50, txt_documents=mode)
    assert documents == expected
    assert rejects.counts == {"too long": 1}


def test_lines_behind_a_record_that_is_skipped_keep_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'text\n"' + b"a line\n" * 40 + b'"\n"x"y\n')
    _, rejects = read(path, max_document_bytes=50)
    assert f"1 too long ({path}:2: to line 42)" in rejects.describe()
    assert f"1 broken row ({path}:43" in rejects.describe()


def test_other_readers_of_csv_keep_their_limit_of_a_field(tmp_path: Path) -> None:
    path, limit = write(tmp_path / "a.csv", b"text\ngood\nfine\n"), csv.field_size_limit()
    for _ in read_documents([path], SourceOptions(max_document_bytes=50), Rejects(0.0)):
        assert csv.field_size_limit() == limit


def test_a_quote_that_is_never_closed_ends_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'text\ngood\n"' + b"a line\n" * 40)
    documents, rejects = read(path, max_document_bytes=50)
    assert documents == ["good"]
    assert rejects.counts == {"too long": 1}


def test_parquet_gives_lists_maps_and_categories_as_they_were_written(tmp_path: Path) -> None:
    values = {
        "text": pa.array(["a", None, "a"]).dictionary_encode(),
        "list": [["x", "y"], None, ["x", None]],
        "struct": [{"n": 1, "s": ["a"]}, None, {"n": None, "s": []}],
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "bytes": [b"\xff", None, b""],
        "number": [1, 2, None],
    }
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    with open_source(tmp_path / "a.parquet") as source:
        rows = list(read_rows(source, Rejects()))
    assert rows == list(enumerate(pa.table(values).to_pylist(), start=1))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_that_parquet_writes_as_differences_are_read_beside_lists(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["one", None, "one and two"], "lists": [["a"], [], ["b", "c"]]})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"text": encoding, "lists.list.element": "PLAIN"})
    with open_source(path) as source:
        assert [row for _, row in read_rows(source, Rejects())] == table.to_pylist()
    pq.write_table(table, path, use_dictionary=False, column_encoding={"lists.list.element": encoding})
    rejects = Rejects()
    with open_source(path) as source:
        assert list(read_rows(source, rejects)) == []
    assert "lists.list.element: lists of texts that are written as differences" in rejects.describe()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1577836800123456789, 0], pa.timestamp("ns")),
        pa.array([10**12 + 1, 0], pa.duration("ns")),
        pa.array([10**16, 0], pa.timestamp("ms")),
        pa.array([10**7, -(10**7)], pa.date32()),
    ],
)
def test_a_time_that_python_has_not_costs_no_row(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"text": ["one", "two"], "when": column}), tmp_path / "a.parquet")
    rejects = Rejects()
    with open_source(tmp_path / "a.parquet") as source:
        rows = [row for _, row in read_rows(source, rejects)]
    assert [row["text"] for row in rows] == ["one", "two"]
    assert rows[0]["when"] is None
    assert rejects.counts == {}


def test_parquet_whose_footer_counts_no_rows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", "two"]}), path)
    raw = bytearray(path.read_bytes())
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    place = raw.index(bytes([0x16, 4, 0x19]), start)  # num_rows of the file, an i64 of 2, before the row groups
    raw[place + 1] = 0
    path.write_bytes(raw)
    documents, rejects = read(path)
    assert (documents, rejects.counts) == (["one", "two"], {})


def test_bad_bytes_in_parquet_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff", b"fine", None], pa.binary())
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 4, raw.buffers())}), tmp_path / "a.parquet")
    documents, rejects = read(tmp_path / "a.parquet")
    assert documents == ["good", "fine"]
    assert rejects.counts == {"not UTF-8": 1, "missing field": 1}
    assert f"{tmp_path / 'a.parquet'}:2" in rejects.describe()


@pytest.mark.parametrize("compression", [".gz", ".zst", ".bz2"])
def test_file_cut_short_keeps_what_came_before_the_cut(tmp_path: Path, compression: str) -> None:
    texts = [f"document {number} {number * 7919 % 10007}" for number in range(5_000)]
    whole = write(tmp_path / f"a.jsonl{compression}", content("jsonl", texts))
    whole.write_bytes(whole.read_bytes()[:-2])
    documents, rejects = read(whole)
    assert documents == texts[: len(documents)]
    # What is lost is the last block: 900 kB of text in bzip2, 128 kB in zstd, next to nothing in gzip.
    assert len(documents) >= {".gz": 4_800, ".zst": 3_000, ".bz2": 0}[compression]
    assert rejects.counts["damaged file"] == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz", "a.jsonl.gz", "a.txt.zst", "a.csv.bz2"])
def test_file_that_is_not_what_its_ending_says_is_counted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is neither packed nor a table, but long enough to be one" * 20)
    documents, rejects = read(tmp_path / name)
    assert documents == []
    assert rejects.counts == {"damaged file": 1}


def test_packed_file_of_two_members_is_read_to_the_end(tmp_path: Path) -> None:
    for compression, compress in list(COMPRESSIONS.items())[1:]:
        path = tmp_path / f"a.txt{compression}"
        path.write_bytes(compress(b"one\n\n") + compress(b"two\n"))
        assert read(path)[0] == ["one", "two"]


def test_endless_line_in_a_small_file_is_never_held(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.jsonl.gz", b'{"text": "good"}\n' + b"x" * 50_000_000 + b'\n{"text": "fine"}\n')
    tracemalloc.start()
    documents, rejects = read(path, max_document_bytes=100_000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert documents == ["good", "fine"]
    assert rejects.counts == {"too long": 1}
    assert peak_bytes < 2_000_000


def test_reading_takes_no_more_memory_for_a_longer_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((b"some words of a document " * 40 + b"\n\n") * 10_000)  # 10 MB
    tracemalloc.start()
    count = sum(1 for _ in read_documents([path], SourceOptions(), Rejects()))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak_bytes < 1_000_000


def test_too_large_a_share_of_bad_records_fails_and_says_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"text": "x"}\n' * 98 + b"{\n{\n")
    with pytest.raises(
        DataError, match=r"2 of 100 records \(2.0%\).*0\.01.*2 broken JSON.*a.jsonl:99.*Mend them"
    ) as caught:
        read(path, max_bad_share=0.01)
    assert "\n" not in str(caught.value)
    assert len(read(path, max_bad_share=0.02)[0]) == 98


def test_hopeless_corpus_fails_before_it_is_read_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"body": "x"}\n' * 3_000)
    with pytest.raises(DataError, match=r"1,001 of 1,001 records.*no 'text', fields are body; set --text-field"):
        read(path, max_bad_share=0.01)


@pytest.mark.parametrize("format_", ["csv", "tsv", "parquet"])
def test_table_without_the_column_names_those_it_has(tmp_path: Path, format_: str) -> None:
    path = write(tmp_path / f"a.{format_}", content(format_, TEXTS))
    with pytest.raises(DataError, match=r"no column 'body'; columns are id, text\. Name .*--text-field"):
        read(path, text_field="body")


def test_files_of_a_folder_are_sorted_and_others_left_out(tmp_path: Path) -> None:
    for name in ("b.txt", "sub/a.jsonl.gz", "README.md", ".hidden.txt", ".git/x.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in find_files([tmp_path])] == ["a.txt", "b.txt", "sub/a.jsonl.gz"]


def test_a_file_named_twice_is_taken_once(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    found = find_files([tmp_path / "b.txt", str(tmp_path / "*.txt"), tmp_path])
    assert [path.name for path in found] == ["b.txt", "a.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "no such file"),
        ("*.csv", "no file matches"),
        ("note.doc", "unknown ending '.doc'.*\\.txt, \\.jsonl"),
        ("empty", "no text files in this folder"),
    ],
)
def test_corpus_entry_that_gives_nothing_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "note.doc").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_files([tmp_path / name])


@pytest.mark.parametrize(
    "wrong", [{"txt_documents": "page"}, {"max_bad_share": 1.5}, {"max_bad_share": -0.1}, {"max_document_bytes": 0}]
)
def test_option_out_of_range_is_an_error_with_the_value(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        SourceOptions(**wrong)
