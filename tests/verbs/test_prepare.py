import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from electrify.data import encoding
from electrify.data.shards import open_shards
from electrify.data.sources import Document, SourceOptions
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import ConfigError, DataError
from electrify.verbs import parts as parts_module
from electrify.verbs.prepare import PrepareReport, prepare

WORDS = [f"w{number}" for number in range(200)]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True).save(folder)
    return folder


def documents(count: int, *, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        "\n".join(" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(draw.randint(1, 6)))
        for _ in range(count)
    ]


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def run(corpus: Path, tokenizer: Path, output: Path, **settings: object) -> PrepareReport:
    return prepare([corpus], tokenizer=tokenizer, output=output, **{"max_length": 32, **settings})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts_of(folder: Path, part: str) -> set[str]:
    """Every document of a part, decoded; they are short enough for one row each."""
    shards = open_shards(folder)
    rows = shards.rows(part, np.arange(shards.num_rows(part)))
    return {shards.tokenizer().decode(ids) for ids in rows.input_ids}


@pytest.mark.parametrize(("pack", "counts"), [("dense", (2, 3)), ("segments", (2,))])
def test_bytes_are_the_same_for_any_number_of_processes(
    tmp_path: Path, tokenizer: Path, pack: str, counts: tuple[int, ...]
) -> None:
    corpus = write(tmp_path / "corpus.jsonl", documents(9_000))  # more than two batches
    for processes in (1, *counts):
        run(corpus, tokenizer, tmp_path / f"out-{processes}", pack=pack, processes=processes, shard_tokens=60_000)
    expected = contents(tmp_path / "out-1")
    assert len([name for name in expected if name.endswith(".ds")]) > 2
    assert all(contents(tmp_path / f"out-{processes}") == expected for processes in counts)


def test_bytes_do_not_depend_on_the_size_of_batches(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write(tmp_path / "corpus.jsonl", documents(300))
    run(corpus, tokenizer, tmp_path / "whole", shard_tokens=500)
    monkeypatch.setattr(encoding, "_BATCH_DOCUMENTS", 7)
    monkeypatch.setattr(encoding, "_UNIT_LETTERS", 20)
    run(corpus, tokenizer, tmp_path / "small", shard_tokens=500)
    assert contents(tmp_path / "small") == contents(tmp_path / "whole")


def test_manifest_does_not_depend_on_where_the_corpus_lies(tmp_path: Path, tokenizer: Path) -> None:
    for place in ("here", "there"):
        run(write(tmp_path / place / "corpus.jsonl", documents(20)), tokenizer, tmp_path / f"out-{place}")
    assert open_shards(tmp_path / "out-here").digest == open_shards(tmp_path / "out-there").digest


def test_report_counts_what_became_of_the_corpus(tmp_path: Path, tokenizer: Path) -> None:
    corpus = write(tmp_path / "corpus.jsonl", ["w1 w2 w3", "", "\u0001", "w4"])
    options = SourceOptions(max_bad_share=0.5)
    report = run(corpus, tokenizer, tmp_path / "out", validation_share=0.0, source_options=options)
    assert (report.num_files, report.num_documents, report.num_bytes) == (1, 2, 11)
    assert (report.num_train_tokens, report.num_train_rows) == (6, 1)  # one [SEP] behind each document
    assert report.num_rejected == {"empty": 1}
    assert report.num_without_tokens == 1
    assert f"{corpus}:2" in report.rejected_places


def test_validation_part_is_cut_by_document_and_repeats_stay_on_one_side(tmp_path: Path, tokenizer: Path) -> None:
    texts = sorted({" ".join(text.split()[:20]) for text in documents(400)})
    report = run(
        write(tmp_path / "corpus.jsonl", texts * 3), tokenizer, tmp_path / "out", validation_share=0.2, pack="pieces"
    )
    train, validation = texts_of(tmp_path / "out", "train"), texts_of(tmp_path / "out", "validation")
    assert not train & validation
    assert train | validation == set(texts)
    assert 0.1 < len(validation) / len(texts) < 0.3
    assert report.num_validation_rows == 3 * len(validation)


def test_validation_files_are_taken_out_of_the_corpus_that_contains_them(tmp_path: Path, tokenizer: Path) -> None:
    write(tmp_path / "data" / "train.jsonl", ["w1 w2", "w3"])
    held_out = write(tmp_path / "data" / "validation.jsonl", ["w7 w8"])
    run(tmp_path / "data", tokenizer, tmp_path / "out", validation=[held_out], pack="pieces")
    assert texts_of(tmp_path / "out", "train") == {"w1 w2", "w3"}
    assert texts_of(tmp_path / "out", "validation") == {"w7 w8"}


def test_corpus_that_is_all_validation_is_an_error(tmp_path: Path, tokenizer: Path) -> None:
    corpus = write(tmp_path / "corpus.jsonl", ["w1"])
    with pytest.raises(DataError, match="nothing is left to train on"):
        run(corpus, tokenizer, tmp_path / "out", validation=[corpus])


def test_corpus_without_usable_text_is_an_error_and_leaves_nothing(tmp_path: Path, tokenizer: Path) -> None:
    corpus = write(tmp_path / "corpus.jsonl", ["\u0001"])
    with pytest.raises(DataError, match="No usable text"):
        run(corpus, tokenizer, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_special_tokens_in_the_corpus_do_not_reach_the_rows(tmp_path: Path, tokenizer: Path) -> None:
    run(write(tmp_path / "corpus.jsonl", ["w1 [MASK] w2 [PAD]"]), tokenizer, tmp_path / "out", validation_share=0.0)
    ids = open_shards(tmp_path / "out").rows("train", np.array([0])).input_ids
    assert 4 not in ids
    assert 0 not in ids


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_work_leaves_no_folder_and_starts_over_cleanly(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    corpus = write(tmp_path / "corpus.jsonl", documents(50))

    def broken(*args: object, **settings: object) -> Iterator[Document]:
        yield Document("w1", "corpus.jsonl:1")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(parts_module, "read_placed_documents", broken)
        with pytest.raises(error):
            run(corpus, tokenizer, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "out.tmp" / "train").mkdir(parents=True)  # as a killed process leaves it
    (tmp_path / "out.tmp" / "train" / "00007.ds").write_bytes(b"half")
    run(corpus, tokenizer, tmp_path / "out")
    run(corpus, tokenizer, tmp_path / "other")
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


def test_existing_output_is_refused_and_kept_until_the_new_one_is_complete(tmp_path: Path, tokenizer: Path) -> None:
    corpus = write(tmp_path / "corpus.jsonl", documents(20))
    run(corpus, tokenizer, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        run(corpus, tokenizer, tmp_path / "out")
    bad = write(tmp_path / "bad.jsonl", [""])
    with pytest.raises(DataError, match="cannot be used"):
        run(bad, tokenizer, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before
    run(corpus, tokenizer, tmp_path / "out", overwrite=True, max_length=16)
    assert open_shards(tmp_path / "out").max_length == 16


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_length": 7},
        {"max_length": 65_536},
        {"pack": "loose"},
        {"validation_share": 1.0},
        {"validation_share": -0.5},
        {"processes": 0},
        {"shard_tokens": 0},
    ],
)
def test_setting_out_of_range_is_an_error_with_the_value(
    tmp_path: Path, tokenizer: Path, wrong: dict[str, object]
) -> None:
    corpus = write(tmp_path / "corpus.jsonl", ["w1"])
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        run(corpus, tokenizer, tmp_path / "out", **wrong)
