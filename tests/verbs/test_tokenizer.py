from pathlib import Path

import pytest

from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, DataError
from electrify.verbs.tokenizer import build_tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("walking and talking\n\nwalked and talked\n" * 20)
    return path


def test_report_counts_what_was_read(tmp_path: Path, corpus: Path) -> None:
    report = build_tokenizer([corpus], output=tmp_path / "out", vocab_size=60)
    assert (report.num_files, report.num_documents, report.num_rejected) == (1, 21, {})
    assert report.vocab_size == load_tokenizer(tmp_path / "out").vocab_size <= 60
    assert report.digest == load_tokenizer(tmp_path / "out").digest


def test_folder_holds_three_files_and_is_the_same_each_time(tmp_path: Path, corpus: Path) -> None:
    contents = []
    for name in ("a", "b"):
        build_tokenizer([corpus], output=tmp_path / name, vocab_size=60)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]


def test_published_tokenizer_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "Abc", "abc"]))
    build_tokenizer([], output=tmp_path / "uncased", from_=tmp_path / "vocab.txt")
    build_tokenizer([], output=tmp_path / "cased", from_=tmp_path / "vocab.txt", is_cased=True)
    build_tokenizer([], output=tmp_path / "again", from_=tmp_path / "cased")
    assert load_tokenizer(tmp_path / "uncased").encode_plain(["Abc"]) == [[6]]
    assert load_tokenizer(tmp_path / "cased").encode_plain(["Abc"]) == [[5]]
    assert load_tokenizer(tmp_path / "again").digest == load_tokenizer(tmp_path / "cased").digest


@pytest.mark.parametrize("has_both", [True, False])
def test_a_corpus_or_a_published_tokenizer_is_needed_and_not_both(tmp_path: Path, corpus: Path, has_both: bool) -> None:
    with pytest.raises(ConfigError, match="either a corpus"):
        build_tokenizer([corpus] if has_both else [], output=tmp_path / "out", from_=tmp_path if has_both else None)


def test_existing_output_is_refused_unless_told_otherwise(tmp_path: Path, corpus: Path) -> None:
    build_tokenizer([corpus], output=tmp_path / "out", vocab_size=60)
    with pytest.raises(DataError, match="exists already"):
        build_tokenizer([corpus], output=tmp_path / "out", vocab_size=50)
    assert build_tokenizer([corpus], output=tmp_path / "out", vocab_size=30, overwrite=True).vocab_size == 30


def test_nothing_is_left_behind_by_a_corpus_without_text(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no usable text"):
        build_tokenizer([tmp_path / "corpus.txt"], output=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt"]
