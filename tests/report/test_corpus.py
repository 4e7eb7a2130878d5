import json
import os
import sys
from pathlib import Path

import pytest
from support.corpora import write_tokenizer

from electrify.cli import main
from electrify.config import CleaningConfig
from electrify.data.shards import open_shards
from electrify.errors import DataError
from electrify.files import read_json
from electrify.report.corpus import write_corpus_page
from electrify.verbs.prepare import PrepareReport, prepare

TEXTS = ["the cat meows in the house", "the dog barks in the yard", "the cat meows in the house", "<b>the</b>", "the"]


def prepared(folder: Path, **settings: object) -> PrepareReport:
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return prepare(
        [corpus],
        tokenizer=write_tokenizer(folder / "tokenizer"),
        output=folder / "shards",
        validation_share=0.0,
        **settings,
    )


def test_page_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    cleaning = CleaningConfig(duplicates="exact", min_letters=5, max_symbol_share=0.2, max_compressed_share=0.99)
    report = prepared(tmp_path, cleaning=cleaning)
    write_corpus_page(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for reason in ("exact duplicate", "too many symbols", "too short"):
        assert f"<td>{reason}</td><td>1</td><td>20.00%</td>" in page
    assert "<td>2 (40.0%)</td>" in page
    assert f"<td>exact duplicate</td><td>{tmp_path}/corpus.jsonl:3</td>" in page
    assert f"<td>too short</td><td>{tmp_path}/corpus.jsonl:5</td>" in page
    assert "&lt;b&gt;the&lt;/b&gt;" in page
    assert "<b>" not in page
    assert page.count("<svg") == 1  # no document is long enough for its compression to be measured


def test_a_folder_without_counts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cleaning\.json"):
        write_corpus_page(prepared(tmp_path), tmp_path / "page.html")


def test_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(tmp_path)
    words = ["prepare", str(tmp_path / "corpus.jsonl"), "--tokenizer", str(tmp_path / "tokenizer"), "--overwrite"]
    words += ["--output", str(tmp_path / "shards"), "--report", str(tmp_path / "page.html"), "--json"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--clean.duplicates", "exact", "--validation-share", "0"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["num_removed"] == {"exact duplicate": 1}
    assert "<svg" in (tmp_path / "page.html").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
@pytest.mark.parametrize("format_", [["--json"], []])
def test_corpus_whose_names_are_not_utf8_is_prepared_and_described(
    tmp_path: Path, format_: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    name = os.fsdecode(b"\xff.jsonl")
    (corpus / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + "{\n")
    monkeypatch.setattr("sys.stdout", open(os.dup(1), "w", encoding="utf-8"))  # noqa: SIM115
    words = ["prepare", str(corpus), "--tokenizer", str(write_tokenizer(tmp_path / "tokenizer")), *format_]
    words += ["--output", str(tmp_path / "shards"), "--report", str(tmp_path / "page.html"), "--max-bad-share", "1"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--clean.duplicates", "exact", "--validation-share", "0"])
    sys.stdout.close()
    assert end.value.code == 0
    assert "/\\udcff.jsonl:6" in capfd.readouterr().out
    assert "/\\udcff.jsonl:3" in (tmp_path / "page.html").read_text()
    open_shards(tmp_path / "shards", verify=True)
    manifest = read_json(tmp_path / "shards" / "manifest.json")
    assert manifest["sources"]["train"][0]["name"] == name
