import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electrify.tasks.tags import find_scheme, read_spans, repair, with_siblings, write_tags

TAGS = ["O", *(f"{prefix}-{name}" for prefix in "BIES" for name in ("PER", "LOC"))]


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["O", "B-PER", "S-PER", "E-PER", "I-PER"], "IOBES"),
        (["NOUN", "VERB", "O"], "plain"),
        (["O"], "plain"),
        (["B-PER", "X"], "plain"),
    ],
)
def test_scheme_follows_from_the_tags(labels: list[str], scheme: str) -> None:
    assert find_scheme(labels) == scheme


def test_entities_are_read_from_both_schemes() -> None:
    spans = [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5)]
    assert read_spans(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]) == spans
    assert read_spans(["B-PER", "E-PER", "O", "S-LOC", "S-LOC"]) == spans


def test_broken_tags_are_repaired_and_counted() -> None:
    assert repair(["I-PER", "I-PER", "O", "I-LOC"], "BIO") == (["B-PER", "I-PER", "O", "B-LOC"], 2)
    assert repair(["B-PER", "O", "I-LOC", "E-LOC"], "IOBES") == (["S-PER", "O", "B-LOC", "E-LOC"], 2)
    assert repair(["I-X", "Y"], "plain") == (["I-X", "Y"], 0)


def test_a_type_seen_only_as_single_words_has_all_its_tags() -> None:
    assert with_siblings({"B-PER", "O"}, "BIO") == {"O", "B-PER", "I-PER"}
    assert with_siblings({"S-LOC"}, "IOBES") == {"O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"}
    assert with_siblings({"NOUN", "VERB"}, "plain") == {"NOUN", "VERB"}


def test_a_longer_entity_than_training_has_is_no_error() -> None:
    from electrify.config import FinetuneConfig
    from electrify.data.tagged import TaggedExample
    from electrify.tasks import tagging

    task = tagging.build([TaggedExample(("Ann", "sleeps"), ("B-PER", "O"), "train:1")], FinetuneConfig())
    assert task.labels == ("O", "B-PER", "I-PER")


@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_repair_keeps_the_entities_and_is_done_once(tags: list[str]) -> None:
    for scheme in ("BIO", "IOBES"):
        repaired, _ = repair(tags, scheme)
        assert read_spans(repaired) == read_spans(tags)
        assert repair(repaired, scheme) == (repaired, 0)
        assert write_tags(read_spans(tags), len(tags), scheme) == repaired


@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12))
def test_entities_are_those_of_seqeval(tags: list[str]) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    theirs = [(name, start, end + 1) for name, start, end in get_entities(tags)]
    assert read_spans(tags) == theirs


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_scores_are_those_of_seqeval(prefixes: str) -> None:
    from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score

    from electrify.config import FinetuneConfig
    from electrify.data.tagged import TaggedExample
    from electrify.tasks.errors import class_table
    from electrify.tasks.tagging import TagsPrediction, build

    draw = random.Random(0)
    tags = ["O", "O", *(f"{prefix}-{name}" for prefix in prefixes for name in ("PER", "LOC", "ORG"))]
    sentences = [[draw.choice(tags) for _ in range(draw.randint(1, 15))] for _ in range(300)]
    guesses = [[tag if draw.random() < 0.7 else draw.choice(tags) for tag in sentence] for sentence in sentences]
    examples = [TaggedExample(tuple("w" for _ in one), tuple(one)) for one in sentences]
    task = build(examples, FinetuneConfig())
    # What the rules cannot spell counts as repaired on both sides; seqeval sees the same entities before and after.
    repaired = [repair(one, task.scheme)[0] for one in sentences]
    predictions = [TagsPrediction([], repair(one, task.scheme)[0], [], 0) for one in guesses]
    metrics = task.judge(examples, predictions).metrics()
    assert metrics == pytest.approx(
        {
            "f1": f1_score(sentences, guesses),
            "precision": precision_score(sentences, guesses),
            "recall": recall_score(sentences, guesses),
            "accuracy": accuracy_score(repaired, [one.tags for one in predictions]),
        }
    )
    report = classification_report(sentences, guesses, output_dict=True)
    for name, scores in class_table(task, examples, predictions).items():
        assert scores.f1 == pytest.approx(report[name]["f1-score"])
        assert scores.count == report[name]["support"]
