"""Files of the other kinds of task: what is read, and that every bad row is named."""

import json
from pathlib import Path

import pytest

from electrify.data.choices import read_choices
from electrify.data.labelled import TextFields, read_examples
from electrify.data.questions import read_questions
from electrify.data.rejects import Rejects
from electrify.data.tagged import TaggedExample, read_tagged
from electrify.errors import DataError
from electrify.tasks.kinds import read_part


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TAGGED = {"tokens": ["a", "b"], "tags": ["O", "B-X"]}
QUESTION = {"id": "q1", "question": "who?", "context": "It was me.", "answers": {"text": ["me"], "answer_start": [7]}}
CHOICE = {"text": "I am", "choices": ["me", "you"], "label": 1}


def test_tagged_sentences_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TAGGED)
    assert read_tagged(path) == [TaggedExample(("a", "b"), ("O", "B-X"))]
    path = write(tmp_path / "b.jsonl", {"words": ["a"], "pos": ["N"]})
    assert read_tagged(path, words_field="words", tags_field="pos")[0].tags == ("N",)
    path = write(tmp_path / "c.jsonl", {"tokens": ["a"]})
    assert read_tagged(path, needs_tags=False)[0].tags is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"tokens": ["a", "b"], "tags": ["O"]},
            "tags of another number .*a.jsonl:2: 2 words in 'tokens', 1 tags in 'tags'",
        ),
        ({"tokens": [], "tags": []}, "empty .*a.jsonl:2"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "empty .*a.jsonl:2"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "a.jsonl:2: 'tokens' must be a list of strings"),
        ({"tokens": ["a"]}, "missing field .*a.jsonl:2: no 'tags'"),
    ],
)
def test_bad_tagged_row_is_named(row: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_tagged(write(tmp_path / "a.jsonl", TAGGED, row))


def test_questions_are_read_as_rows_and_as_squad_is_distributed(tmp_path: Path) -> None:
    rows = read_questions(write(tmp_path / "a.jsonl", QUESTION, QUESTION | {"is_impossible": True}))
    assert [one.answers for one in rows] == [((7, "me"),), ()]
    answers = [{"text": "me", "answer_start": 7}]
    questions = [{"id": "q1", "question": "who?", "answers": answers},
                 {"id": "q2", "question": "where?", "answers": [], "is_impossible": True}]  # fmt: skip
    nested = {"data": [{"title": "t", "paragraphs": [{"context": "It was me.", "qas": questions}]}]}
    (tmp_path / "a.json").write_text(json.dumps(nested))
    assert [one.answers for one in read_questions(tmp_path / "a.json")] == [((7, "me"),), ()]
    answers[0]["answer_start"] = 6
    (tmp_path / "a.json").write_text(json.dumps(nested))
    with pytest.raises(DataError, match=r"a\.json:question 1: at character 6 stands ' m', not 'me'"):
        read_questions(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"text": ["me"], "answer_start": [8]}}, "a.jsonl:2: at character 8 stands 'e.', not 'me'"),
        ({"answers": {"text": ["me"], "answer_start": [-3]}}, "a.jsonl:2: at character -3"),
        ({"answers": {"text": ["me"], "answer_start": []}}, "a.jsonl:2: 'answers' must have as many texts as starts"),
        ({"answers": {"text": "me", "answer_start": 7}}, "a.jsonl:2: 'answers' must have .* in two lists"),
        ({"answers": ["me"]}, "a.jsonl:2: 'answers' must be .* or a list of such pairs"),
        ({"answers": {"text": [""], "answer_start": [0]}}, "a.jsonl:2: an answer needs a text"),
        ({"context": ""}, "empty .*a.jsonl:2"),
        ({"question": None}, "a.jsonl:2: 'question' is empty"),
    ],
)
def test_bad_question_is_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_questions(write(tmp_path / "a.jsonl", QUESTION, QUESTION | change))


@pytest.mark.parametrize("name", ["a.json", "b.json"])
def test_file_that_is_not_squads_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rows": []}')
    with pytest.raises(DataError, match=r"\.json: "):
        read_questions(tmp_path / name)


@pytest.mark.parametrize(("label", "number"), [(1, 1), ("1", 1), ("B", 1), ("you", 1), ("me", 0)])
def test_right_choice_may_be_a_number_a_letter_or_its_text(label: object, number: int, tmp_path: Path) -> None:
    assert read_choices(write(tmp_path / "a.jsonl", CHOICE | {"label": label}))[0].label == number


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "label that is no choice .*a.jsonl:2: 'label' is 2"),
        ({"label": True}, "label that is no choice"),
        ({"choices": ["me"]}, "a.jsonl:2: 'choices' must be two or more strings"),
        ({"choices": ["me", "you", "us"]}, "another number of choices .*a.jsonl:2: 3, the rows before have 2"),
        ({"choices": ["me", ""]}, "empty .*a.jsonl:2"),
    ],
)
def test_bad_choice_is_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_choices(write(tmp_path / "a.jsonl", CHOICE, CHOICE | change))


def test_hidden_choices_may_have_any_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE | {"label": -1})
    assert read_choices(path, needs_labels=False)[0].label is None


def test_question_stands_behind_the_text_of_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE | {"question": "Who?"})
    assert read_choices(path)[0].text == "I am Who?"


def test_labels_may_be_several_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "labels": ["x", "y", "x"]}, {"text": "b", "labels": []})
    assert [one.labels for one in read_part("multilabel", path)] == [("x", "y"), ()]
    path = write(tmp_path / "b.jsonl", {"text": "a", "labels": "x"})
    with pytest.raises(DataError, match=r"b\.jsonl:1: 'labels' must be a list of strings"):
        read_part("multilabel", path)


def test_words_are_joined_where_a_text_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"tokens": ["a", "b"], "tags": ["O", "O"], "label": "x"})
    assert read_examples(path)[0].text == "a b"


def test_table_with_another_separator_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text;label\nx;y\n")
    with pytest.raises(
        DataError, match=r"a\.csv:2: no 'text', .* separated by ';': \.csv is read with ',', \.tsv with tabs"
    ):
        read_examples(tmp_path / "a.csv")


def test_table_without_a_header_gets_its_columns_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("gj04\t1\t\tOur friends.\ngj05\t0\t*\tThem buy.\n")
    columns = ("source", "label", "mark", "sentence")
    rows = read_examples(tmp_path / "a.tsv", fields=TextFields(), columns=columns)
    assert [(one.text, one.label) for one in rows] == [("Our friends.", "1"), ("Them buy.", "0")]


def test_rows_that_are_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.jsonl", TAGGED, {"tokens": ["a"], "tags": []})
    assert len(read_tagged(path, rejects=Rejects(0.5))) == 1
    assert "1 rows left out: 1 tags of another number" in caplog.text
