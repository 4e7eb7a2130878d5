import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from electrify.data.remote import RemoteFolder
from electrify.data.shards import ShardFolder, open_shards
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import DataError
from electrify.verbs.prepare import prepare

WORDS = [f"w{number}" for number in range(300)]
URL = "memory://bucket/shards"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardFolder]:
    """A folder of five shards, which also lies in a bucket in memory."""
    monkeypatch.setenv("ELECTRIFY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tokenizer").mkdir()
    from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True).save(tmp_path / "tokenizer")
    texts = [" ".join(WORDS[start : start + 20]) for start in range(0, 100, 20)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepare(
        [tmp_path / "corpus.jsonl"],
        tokenizer=tmp_path / "tokenizer",
        output=tmp_path / "shards",
        max_length=10,
        validation_share=0.0,
        shard_tokens=1,
    )
    bucket = fsspec.filesystem("memory")
    bucket.put(str(tmp_path / "shards"), "/bucket/shards", recursive=True)
    yield open_shards(tmp_path / "shards")
    bucket.rm("/bucket", recursive=True)


def cached(folder: ShardFolder) -> set[str]:
    return {path.name for path in folder.path.rglob("*.ds")}


def test_rows_from_a_bucket_are_those_of_the_folder(local: ShardFolder) -> None:
    remote = open_shards(URL)
    rows = np.random.default_rng(0).permutation(local.num_rows("train"))
    assert remote.num_rows("train") == len(rows)
    assert remote.digest == local.digest
    assert np.array_equal(remote.rows("train", rows).input_ids, local.rows("train", rows).input_ids)
    assert np.array_equal(remote.stream("train", max_tokens=50), local.stream("train", max_tokens=50))
    assert remote.tokenizer().digest == local.tokenizer().digest


def test_only_the_shards_of_the_rows_that_are_read_are_fetched(local: ShardFolder) -> None:
    remote = open_shards(URL)
    assert cached(remote) == set()
    rows = np.array([0, local.num_rows("train") - 1])
    assert remote.shards_of("train", rows).tolist() == [0, 4]
    remote.rows("train", rows)
    assert cached(remote) == {"00000.ds", "00004.ds"}
    assert not list(remote.path.rglob("*.tmp"))
    assert len(cached(open_shards(URL, verify=True))) == 5


def test_what_is_in_the_cache_is_not_fetched_again(local: ShardFolder) -> None:
    open_shards(URL, verify=True)
    bucket = fsspec.filesystem("memory")
    for number in range(5):
        bucket.rm(f"/bucket/shards/train/{number:05}.ds")
    rows = np.arange(local.num_rows("train"))
    assert np.array_equal(open_shards(URL).rows("train", rows).input_ids, local.rows("train", rows).input_ids)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be fetched"), (b"short", "not of the size"), (b"\0" * 42, "altered")]
)
def test_a_broken_shard_is_refused_and_leaves_nothing(local: ShardFolder, content: bytes | None, message: str) -> None:
    bucket = fsspec.filesystem("memory")
    name = "/bucket/shards/train/00000.ds"
    assert bucket.size(name) == 42  # 21 tokens
    if content is None:
        bucket.rm(name)
    else:
        bucket.pipe_file(name, content)
    remote = open_shards(URL)
    with pytest.raises(DataError, match=rf"00000\.ds: .*{message}"):
        remote.rows("train", np.array([0]))
    assert not [path for path in remote.path.rglob("00000*") if path.is_file()]


def test_a_folder_that_is_not_there_and_an_unknown_protocol_are_named(local: ShardFolder) -> None:
    with pytest.raises(DataError, match=r"memory://elsewhere: no manifest\.json"):
        open_shards("memory://elsewhere")
    with pytest.raises(DataError, match="nosuch://a: cannot be read"):
        open_shards("nosuch://a")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "train/../../outside"])
def test_a_manifest_cannot_name_files_outside_of_the_cache(local: ShardFolder, name: str) -> None:
    with pytest.raises(DataError, match="outside of the folder"):
        RemoteFolder(URL).fetch(name, {"bytes": 1, "digest": ""})
