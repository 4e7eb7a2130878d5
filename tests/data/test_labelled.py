import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from electrify.data.labelled import Example, read_examples
from electrify.data.rejects import Rejects
from electrify.errors import DataError


def write_jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_kind_of_table_gives_the_same_examples(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", {"text": "x", "label": "yes"}, {"text": "y", "label": "no"})
    (tmp_path / "a.csv").write_text("label,text\nyes,x\nno,y\n")
    (tmp_path / "a.tsv").write_text("label\ttext\nyes\tx\nno\ty\n")
    pq.write_table(pa.table({"text": ["x", "y"], "label": ["yes", "no"]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    expected = [Example("x", None, "yes"), Example("y", None, "no")]
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz"):
        assert read_examples(tmp_path / name) == expected


def test_pairs_are_recognised_by_their_usual_names(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {"text_a": "x", "text_b": "y", "label": "l"})
    assert read_examples(path) == [Example("x", "y", "l")]
    path = write_jsonl(tmp_path / "b.jsonl", {"text": "x", "text_b": "y", "label": "l"})
    assert read_examples(path) == [Example("x", "y", "l")]


def test_fields_can_be_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {"q": "x", "a": "y", "gold": "l", "text": "other"})
    assert read_examples(path, text_field="q", text_b_field="a", label_field="gold") == [Example("x", "y", "l")]


@pytest.mark.parametrize(("value", "label"), [(3, "3"), (0, "0"), (2.5, "2.5"), (True, "true"), (False, "false")])
def test_labels_become_their_text(tmp_path: Path, value: object, label: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {"text": "x", "label": value})
    assert read_examples(path)[0].label == label


def test_labels_may_be_absent_where_they_are_not_needed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {"text": "x"}, {"text": "y", "label": "l"})
    assert [example.label for example in read_examples(path, needs_labels=False)] == [None, "l"]
    with pytest.raises(DataError, match=r"a.jsonl:1: no 'label', fields are text; name .*--label-field"):
        read_examples(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "l"}, "1 missing field .*a.jsonl:2: no 'text', fields are label"),
        ({"text": "x", "label": ["l"]}, "1 not a text .*a.jsonl:2"),
        ({"text": 5, "label": "l"}, "1 not a text .*a.jsonl:2"),
        ({"text": " ", "label": "l"}, "1 empty .*a.jsonl:2"),
        ({"text": "x", "label": ""}, "1 empty .*a.jsonl:2"),
        (["text"], "1 broken JSON .*a.jsonl:2"),
    ],
)
def test_one_bad_row_is_an_error_that_names_its_line(tmp_path: Path, row: object, message: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", {"text": "x", "label": "l"}, row)
    with pytest.raises(DataError, match=message):
        read_examples(path)
    rejects = Rejects(0.5)
    assert read_examples(path, rejects=rejects) == [Example("x", None, "l")]
    assert rejects.num_bad == 1


def test_file_without_examples_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="no examples"):
        read_examples(tmp_path / "a.csv")


def test_plain_text_is_no_labelled_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(DataError, match="unknown ending"):
        read_examples(tmp_path / "a.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path / "missing.csv")
