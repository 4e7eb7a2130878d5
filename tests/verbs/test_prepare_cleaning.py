import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from electrify.config import CleaningConfig, ExecutorConfig
from electrify.data import executors, pieces
from electrify.data.shards import open_shards
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import DataError
from electrify.verbs import prepare as prepare_module
from electrify.verbs.prepare import PrepareReport, prepare

WORDS = [f"w{number}" for number in range(200)]
NEAR = CleaningConfig(duplicates="near")


def documents(count: int, *, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["\n".join(" ".join(draw.choices(WORDS, k=9)) for _ in range(draw.randint(1, 9))) for _ in range(count)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four files of 50 documents, of which each file after the first repeats 10 of an earlier one, and bad records."""
    from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True).save(_made(tmp_path / "tokenizer"))
    folder = _made(tmp_path / "corpus")
    earlier: list[str] = []
    for number in range(4):
        texts = [*documents(40 if earlier else 50, seed=number), *earlier[:10]]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{number}.jsonl").write_text("\n".join([*lines[:5], "broken", *lines[5:], '{"text": ""}']))
        earlier = [f"{text} w1" for text in texts] if number else texts
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def run(corpus: Path, name: str, **settings: object) -> PrepareReport:
    output = corpus.parent / name
    settings = {"max_length": 32, "processes": 1, "shard_tokens": 2_000, "validation_share": 0.1, **settings}
    tokenizer = corpus.parent / "tokenizer"
    from electrify.data.sources import SourceOptions

    settings.setdefault("source_options", SourceOptions(max_bad_share=0.1))
    return prepare([corpus], tokenizer=tokenizer, output=output, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_exact_duplicates_are_left_out_and_counted(corpus: Path) -> None:
    plain = run(corpus, "plain")
    report = run(corpus, "clean", cleaning=CleaningConfig(duplicates="exact"))
    assert report.num_removed == {"exact duplicate": 10}
    assert report.num_documents == plain.num_documents - 10 == 190
    manifest = open_shards(corpus.parent / "clean").manifest
    assert manifest["removed"] == report.num_removed
    assert manifest["settings"]["cleaning"]["duplicates"] == "exact"
    counts = json.loads((corpus.parent / "clean" / "cleaning.json").read_text())
    assert counts["num_kept"] == 190
    assert len(counts["examples"]["exact duplicate"]) == 3


@pytest.mark.parametrize("duplicates", ["exact", "near"])
def test_compression_is_counted_of_the_documents_that_stay(corpus: Path, duplicates: str) -> None:
    words = [" ".join(f"w{(number * factor) % 89}" for number in range(120)) for factor in range(1, 7)]
    texts = [*words, *words[:2], "w " * 300]
    (corpus / "long.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    cleaning = CleaningConfig(duplicates=duplicates, min_compressed_share=0.05, min_letters=256)
    report = run(corpus, "clean", cleaning=cleaning)
    counts = json.loads((corpus.parent / "clean" / "cleaning.json").read_text())
    assert counts["removed"]["too compressible"] == 1
    assert sum(counts["compression"]["kept"].values()) == counts["num_kept"] == report.num_documents > 0
    num_measured = sum(counts["removed"][reason] for reason in counts["removed"] if reason != "too short")
    assert sum(counts["compression"]["removed"].values()) == num_measured


def test_near_duplicates_are_left_out_wherever_they_stand(corpus: Path) -> None:
    report = run(corpus, "clean", cleaning=NEAR)
    assert report.num_removed["exact duplicate"] == 10
    assert 15 <= report.num_removed["near duplicate"] <= 20
    assert report.num_rejected == {"broken JSON": 4, "empty": 4}
    assert not (corpus.parent / "clean.work").exists()


@pytest.mark.parametrize("pack", ["dense", "segments"])
def test_pieces_give_the_bytes_of_the_stream(corpus: Path, pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = corpus / "3.jsonl"
    cleaning = CleaningConfig(duplicates="exact", min_letters=30)
    for settings in ({}, {"cleaning": cleaning}, {"validation": [held_out], "cleaning": cleaning}):
        run(corpus, "stream", pack=pack, overwrite=True, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(prepare_module, "_needs_pieces", lambda *_: True)
            for tasks in (None, 1, 2):
                executor = ExecutorConfig(tasks=tasks)
                run(corpus, "pieces", pack=pack, overwrite=True, executor=executor, **settings)
                assert contents(corpus.parent / "pieces") == contents(corpus.parent / "stream")


def test_bytes_do_not_depend_on_tasks_and_processes(corpus: Path) -> None:
    run(corpus, "one", cleaning=NEAR)
    expected = contents(corpus.parent / "one")
    run(corpus, "two", cleaning=NEAR, executor=ExecutorConfig(tasks=2))
    assert contents(corpus.parent / "two") == expected
    run(corpus, "processes", cleaning=NEAR, processes=2)
    assert contents(corpus.parent / "processes") == expected


def test_all_processes_work_on_a_file_that_is_larger_than_the_others(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, *others = sorted(corpus.glob("*.jsonl"))
    others[0].write_text("\n".join(path.read_text().rstrip("\n") for path in others))
    for path in others[1:]:
        path.unlink()
    expected = run(corpus, "one", cleaning=NEAR)
    assert small.stat().st_size < others[0].stat().st_size / 2
    asked: list[int] = []
    original = pieces.encode_documents

    def recorded(documents: Any, encoder: Any, *, processes: int) -> Any:
        asked.append(processes)
        return original(documents, encoder, processes=processes)

    monkeypatch.setattr(pieces, "encode_documents", recorded)
    report = run(corpus, "two", cleaning=NEAR, processes=2)
    assert asked == [2]  # of this process; the other file's task has one of its own
    assert report.num_removed == expected.num_removed
    assert report.num_removed["near duplicate"] >= 15
    assert contents(corpus.parent / "two") == contents(corpus.parent / "one")


def test_an_interrupted_call_goes_on_where_it_stopped(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(corpus, "whole", cleaning=NEAR)
    made: list[int] = []
    original = pieces.MakePiece.__call__

    def counted(self: pieces.MakePiece, data: object, rank: int, world_size: int) -> Iterator[object]:
        if rank == 2 and 2 not in made:
            made.append(rank)
            raise KeyboardInterrupt
        made.append(rank)
        return original(self, data, rank, world_size)

    monkeypatch.setattr(pieces.MakePiece, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, "again", cleaning=NEAR)
    assert (corpus.parent / "again.work").is_dir()
    assert not (corpus.parent / "again").exists()
    run(corpus, "again", cleaning=NEAR)
    assert made == [0, 1, 2, 2, 3]
    assert contents(corpus.parent / "again") == contents(corpus.parent / "whole")


def test_what_another_call_left_is_not_used(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(executors, "run_here", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(corpus, "again", cleaning=NEAR, max_length=64)
    (corpus.parent / "again.work" / "encode" / "completions").mkdir(parents=True)
    (corpus.parent / "again.work" / "encode" / "completions" / "00000").touch()
    assert run(corpus, "again", cleaning=NEAR).num_documents > 0


def test_too_many_bad_records_over_all_pieces_stop(corpus: Path) -> None:
    from electrify.data.sources import SourceOptions

    with pytest.raises(DataError, match=r"8 of 208 records .* 4 broken JSON"):
        run(corpus, "clean", cleaning=NEAR, source_options=SourceOptions(max_bad_share=0.03))


def test_nothing_left_says_what_was_left_out(corpus: Path) -> None:
    with pytest.raises(DataError, match="No usable text"):
        run(corpus, "clean", cleaning=CleaningConfig(min_letters=10**6))
