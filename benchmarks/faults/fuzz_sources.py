"""Thousands of damaged and hostile records of every source format, read as `prepare` reads them.

    python benchmarks/faults/fuzz_sources.py --records 10000     # of each format
    python benchmarks/faults/fuzz_sources.py --atheris 60        # seconds, guided by coverage (pip install atheris)

Every file holds twenty records, some of them hostile by design, and is then damaged: bytes flipped, cut out, doubled,
put in or cut off, before or after it is compressed. Reading has to end, within seconds, without any error but
`DataError`, with every line of a line format counted as a document, a bad record or a blank line.
"""

import argparse
import bz2
import gzip
import inspect
import io
import json
import logging
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from electrify.data.lines import file_format
from electrify.data.rejects import Rejects
from electrify.data.sources import SourceOptions, read_documents
from electrify.errors import DataError

RECORDS_PER_FILE = 20
MAX_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 4_000
MAX_MEMORY_BYTES = 64 << 20
HOSTILE = [
    "", " ", "\x00", "\ufeff", "\u2028", '"', '""', ",", "\t", "\r", "\\", "\\ud800", "\x1a", "{", "}", "[" * 2_000,
    '{"text":' * 500, "NaN", "1e999", "9" * 5_000, "x" * (MAX_DOCUMENT_BYTES + 1), '"' + "y\n" * 50, "=cmd()",
    "\U0010ffff",
]  # fmt: skip
ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}

texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=30), min_size=1, max_size=3).map("".join)
damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "double", "insert", "end"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8) | st.sampled_from([one.encode(errors="replace") for one in HOSTILE if one]),
    ),
    max_size=4,
)


def content(ending: str, records: list[str]) -> bytes:
    """Write records as a file of this kind; for line formats hostile ones go in as they are half of the time."""
    if ending == ".txt":
        return "\n\n".join(records).encode(errors="surrogatepass")
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        valid = [record.encode(errors="replace").decode() for record in records]
        pq.write_table(pa.table({"text": [None, *valid]}), sink)
        return sink.getvalue()
    if ending == ".jsonl":
        lines = [json.dumps({"text": one}) if index % 2 else one for index, one in enumerate(records)]
    else:
        between = "," if ending == ".csv" else "\t"
        lines = ["id" + between + "text", *(f"{index}{between}{one}" for index, one in enumerate(records))]
    return "\n".join(lines).encode(errors="surrogatepass")


def damage(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, put in changes:
        at = int(where * len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ put[0]]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + len(put) :]
        elif kind == "double":
            data = data[: at + len(put)] + data[at:]
        elif kind == "insert":
            data = data[:at] + put + data[at:]
        elif kind == "end":
            data = data[:at]
    return data


def read_safely(path: Path) -> Rejects:
    """Read a file and check what has to hold whatever is in it.

    Raises:
        AssertionError: If something does not hold.
    """
    options = SourceOptions(max_bad_share=1.0, max_document_bytes=MAX_DOCUMENT_BYTES)
    if file_format(path) == ".txt":
        options = SourceOptions(max_bad_share=1.0, max_document_bytes=MAX_DOCUMENT_BYTES, txt_documents="line")
    rejects = Rejects(1.0)
    started = time.monotonic()
    try:
        documents = list(read_documents([path], options, rejects))
    except DataError:  # a table that lost its header
        assert file_format(path) in (".csv", ".tsv", ".parquet")
        return rejects
    assert time.monotonic() - started < MAX_SECONDS, "too slow"
    assert len(documents) == rejects.num_good
    assert sum(len(document.encode()) for document in documents) == rejects.num_bytes
    assert all(document and len(document.encode()) <= MAX_DOCUMENT_BYTES for document in documents)
    if path.suffix in (".txt", ".jsonl"):
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        lines = lines if lines[-1] else lines[:-1]
        blank = sum(not line.strip() for line in lines)
        assert len(lines) - blank <= rejects.num_good + rejects.num_bad <= len(lines), "a line is not counted"
    return rejects


def fuzz(ending: str, num_records: int, folder: Path, run_seed: int = 0) -> Counter[str]:
    """Read damaged files of one kind; return how many records were kept and how many were bad, by kind."""
    totals: Counter[str] = Counter()

    @seed(run_seed)
    @settings(
        max_examples=-(-num_records // RECORDS_PER_FILE),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(texts, min_size=RECORDS_PER_FILE, max_size=RECORDS_PER_FILE),
        damages,
        st.sampled_from(["", "", *COMPRESSIONS]),
        damages,
    )
    def check(records: list[str], before: list, compression: str, after: list) -> None:
        path = folder / f"fuzz{ending}{compression}"
        path.write_bytes(damage(COMPRESSIONS[compression](damage(content(ending, records), before)), after))
        rejects = read_safely(path)
        totals.update(rejects.counts)
        totals["documents"] += rejects.num_good
        totals["records written"] += len(records)

    check()
    return totals


def fuzz_with_atheris(seconds: int, folder: Path) -> None:
    import atheris

    for module in ("records", "rejects", "sources"):
        functions = vars(sys.modules[f"electrify.data.{module}"])
        for name, function in list(functions.items()):
            if inspect.isfunction(function) and function.__module__.endswith(module):
                functions[name] = atheris.instrument_func(function)

    def one(data: bytes) -> None:
        ending = ENDINGS[data[0] % 4] if data else ".jsonl"
        path = folder / f"atheris{ending}"
        path.write_bytes(data[1:])
        read_safely(path)

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=8192"], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", type=int, metavar="SECONDS")
    options = parser.parse_args()
    logging.disable()  # every damaged file is logged, as it should be
    with tempfile.TemporaryDirectory() as name:
        if options.atheris:
            fuzz_with_atheris(options.atheris, Path(name))
            return
        for ending in ENDINGS:
            tracemalloc.start()
            started = time.monotonic()
            totals = fuzz(ending, options.records, Path(name), options.seed)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            written = totals.pop("records written")
            kept = totals.pop("documents")
            bad = ", ".join(f"{count:,} {kind}" for kind, count in totals.most_common())
            seconds = time.monotonic() - started
            print(f"{ending:<9}{written:>7,} records, no crash, {seconds:5.1f} s, {peak >> 20} MB at most")
            print(f"         {kept:>7,} documents read; bad: {bad}", flush=True)
            assert peak < MAX_MEMORY_BYTES


if __name__ == "__main__":
    main()
