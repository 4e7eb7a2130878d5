"""Damaged and hostile corpora: no crash, nothing uncounted, memory bounded.

The files are those of benchmarks/faults/fuzz_sources.py, which reads thousands of them.
"""

import gzip
import io
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from electrify.data import lines
from electrify.data.rejects import Rejects
from electrify.data.sources import SourceOptions, read_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/faults"))
from fuzz_sources import ENDINGS, fuzz

LIMIT = 100_000
READ = """
import sys
import tracemalloc
from pathlib import Path
from electrify.data.rejects import Rejects
from electrify.data.sources import SourceOptions, read_documents
rejects = Rejects(1.0)
options = SourceOptions(max_bad_share=1.0, max_document_bytes=100_000)
documents = list(read_documents([Path(sys.argv[1])], options, rejects))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(documents), dict(rejects.counts), int(peak.split()[1]) // 1024, sep=";")
"""


def read(path: Path) -> tuple[list[str], Rejects]:
    rejects = Rejects(1.0)
    options = SourceOptions(max_bad_share=1.0, max_document_bytes=LIMIT)
    return list(read_documents([path], options, rejects)), rejects


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files_are_read_without_a_crash_and_counted(tmp_path: Path, ending: str) -> None:
    totals = fuzz(ending, 400, tmp_path)
    assert totals["records written"] >= 400


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("name", "gigabytes"), [("bomb.jsonl.gz", 0.5), ("bomb.txt.zst", 2), ("bomb.csv.zst", 2)])
def test_a_line_of_gigabytes_is_given_up_in_little_memory(tmp_path: Path, name: str, gigabytes: float) -> None:
    path = tmp_path / name
    block = b"x" * (1 << 20)
    with path.open("wb") as file:
        packed = (
            gzip.GzipFile(fileobj=file, mode="wb")
            if name.endswith("gz")
            else zstandard.ZstdCompressor().stream_writer(file)
        )
        with packed:
            packed.write(b'{"text": "good"}\n' if "json" in name else b"text\ngood\n" if "csv" in name else b"good\n\n")
            for _ in range(int(gigabytes * 1024)):
                packed.write(block)
    done = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=True, env=_environment()
    )
    assert "unpacks to more than 200 times its size" in done.stderr
    num_documents, counts, megabytes = done.stdout.split(";")
    assert (int(num_documents), counts) == (1, "{'damaged file': 1}")
    assert int(megabytes) < 250  # most of it is Python and pyarrow


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_plain_line_without_end_is_skipped_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "first"}\n')
        file.seek(300 << 20, io.SEEK_CUR)  # zeros that take no room on the disk
        file.write(b'\n{"text": "last"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    documents, rejects = read(path)
    assert documents == ["first", "last"]
    assert rejects.counts == {"too long": 1}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_record_of_many_short_lines_within_quotes_is_not_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text,b\nfirst,1\n" + '"x\n",' * 3 * LIMIT)
    tracemalloc.start()
    documents, rejects = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert documents == ["first"]
    assert rejects.counts["too long"] >= 1
    assert set(rejects.counts) <= {"too long", "broken row"}
    assert peak < 60 * LIMIT  # of the whole record it would be five times as much


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parquet_that_grows_beyond_measure_is_given_up(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_MIN_RATIO_BYTES", 1 << 12)
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * 20_000_000]}), sink, compression="zstd")
    path = tmp_path / f"bomb.parquet{suffix}"
    path.write_bytes(gzip.compress(sink.getvalue()) if suffix else sink.getvalue())
    documents, rejects = read(path)
    assert documents == []
    assert rejects.counts == {"damaged file": 1}
    assert "200 times" in rejects.describe()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["plain", "list", "category"])
def test_parquet_that_repeats_a_large_value_is_read_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb.parquet"
    places = pa.array([0] * 64, pa.int32())
    column = pa.DictionaryArray.from_arrays(places, pa.array(["a" * (10 << 20)]))
    if kind == "list":
        column = pa.ListArray.from_arrays(pa.array([0, 64], pa.int32()), column)
    table = pa.table({"text": column})
    pq.write_table(table, path, compression="zstd", store_schema=kind == "category", dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < 5_000
    done = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=True, env=_environment()
    )
    num_documents, counts, megabytes = done.stdout.split(";")
    assert (int(num_documents), counts) == (0, f"{{'too long': {1 if kind == 'list' else 64}}}")
    assert int(megabytes) < 250  # of 640
