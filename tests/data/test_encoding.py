import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from electrify.data.encoding import DocumentEncoder, encode_documents, hash_text, is_held_out
from electrify.data.sources import Document
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary

ENDLESS = """
import itertools, multiprocessing
from electrify.data.encoding import DocumentEncoder, encode_documents
from electrify.data.sources import Document
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
if __name__ == "__main__":
    encoder = DocumentEncoder(from_vocabulary(SPECIAL_TOKENS, is_cased=True), "dense", 16, 0.0)
    batches = encode_documents(itertools.repeat(Document("a", "")), encoder, processes=2)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    for _ in batches:
        pass
"""


def encoder(pack: str = "dense") -> DocumentEncoder:
    return DocumentEncoder(from_vocabulary([*SPECIAL_TOKENS, "a", "b"], is_cased=True), pack, 16, 0.0)


def placed(*texts: str) -> list[Document]:
    return [Document(text, f"corpus:{row}") for row, text in enumerate(texts, start=1)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_each_dense_document_ends_with_a_separator_that_is_its_own() -> None:
    batch = encoder()(placed("a b", "\u0001", "b"))
    assert batch.token_ids.tolist() == [5, 6, 3, 6, 3]
    assert batch.document_lengths.tolist() == [3, 2]
    assert batch.num_without_tokens == 1
    assert batch.places == ["corpus:1", "corpus:3"]


def test_lines_are_the_sentences_of_segments() -> None:
    batch = encoder("segments")(placed("a b a b\nb a b a\n" * 20))
    assert batch.rows_per_document.tolist() == [len(batch.row_lengths)]
    assert batch.row_lengths.sum() == batch.document_lengths.sum() == len(batch.token_ids)
    assert len(batch.token_ids) + batch.num_cut == 160


def test_long_document_without_white_space_is_kept_whole() -> None:
    assert encoder()(placed("!" * 300_000)).document_lengths.tolist() == [300_001]


def test_held_out_share_is_kept_and_grows_with_the_share() -> None:
    hashes = [hash_text(f"document {number}") for number in range(4_000)]
    small, large = ({one for one in hashes if is_held_out(one, share)} for share in (0.05, 0.2))
    assert small < large
    assert abs(len(large) / len(hashes) - 0.2) < 0.02
    assert not any(is_held_out(one, 0.0) for one in hashes)
    assert all(is_held_out(one, 1.0) for one in hashes)


def test_no_documents_give_no_batches() -> None:
    assert list(encode_documents([], encoder(), processes=1)) == []


def test_documents_keep_their_order() -> None:
    documents = ["a" if number % 3 else "b" for number in range(9_000)]
    batches = list(encode_documents(placed(*documents), encoder(), processes=2))
    assert len(batches) > 2
    ids = np.concatenate([batch.token_ids for batch in batches])[::2]
    assert ids.tolist() == [5 if text == "a" else 6 for text in documents]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, tmp_path / "endless.py"], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
