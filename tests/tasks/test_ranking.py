import pytest

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.errors import ConfigError, DataError
from electrify.tasks.bootstrap import draw_scores
from electrify.tasks.classification import Prediction
from electrify.tasks.judgement import EXAMPLE, signed
from electrify.tasks.kinds import judged
from electrify.tasks.ranking import build


def candidates(*rows: tuple[str, int]) -> list[Example]:
    return [Example("q", "c", str(label), (), query, "a.jsonl:1") for query, label in rows]


def scored(*values: float) -> list[Prediction]:
    return [Prediction("1" if value > 0.5 else "0", {"0": 1 - value, "1": value}) for value in values]


def test_metrics_are_those_worked_out_by_hand() -> None:
    examples = candidates(("a", 0), ("a", 1), ("a", 1), ("b", 1), ("b", 0), ("c", 0), ("c", 0), ("d", 1))
    task = build(examples, FinetuneConfig())
    # a: ranked 1 0 1; b: ranked 0 1; c has nothing right and d nothing wrong, so they say nothing
    result = task.judge(examples, scored(0.5, 0.4, 0.9, 0.2, 0.3, 0.1, 0.1, 0.1)).metrics()
    assert result == pytest.approx(
        {"map": ((1 + 2 / 3) / 2 + 1 / 2) / 2, "mrr": (1 + 1 / 2) / 2, "precision_at_1": 0.5}
    )


def test_ties_count_as_the_worst_order() -> None:
    examples = candidates(("a", 1), ("a", 0))
    task = build(examples, FinetuneConfig())
    assert task.judge(examples, scored(0.5, 0.5)).metrics()["mrr"] == 0.5


def test_positive_label_may_be_chosen() -> None:
    examples = candidates(("a", 1), ("a", 0))
    task = build(examples, FinetuneConfig(positive_label="0"))
    assert task.judge(examples, scored(0.1, 0.2)).metrics()["mrr"] == 0.5
    assert task.judge(examples, scored(0.2, 0.1)).metrics()["mrr"] == 1.0
    with pytest.raises(ConfigError, match="no label '2'"):
        build(examples, FinetuneConfig(positive_label="2"))


def test_example_without_a_query_is_named() -> None:
    examples = [Example("q", "c", "0", place="a.jsonl:4"), Example("q", "c", "1")]
    with pytest.raises(DataError, match=r"a\.jsonl:4: no query"):
        build(examples, FinetuneConfig()).judge(examples, scored(0.1, 0.2))


def test_entries_are_queries_that_say_something_and_know_their_candidates() -> None:
    examples = candidates(("a", 1), ("b", 1), ("a", 0), ("b", 1), ("c", 0), ("c", 1))
    task = build(examples, FinetuneConfig())
    judgement = signed(task.judge(examples, scored(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), judged(task, examples))
    assert {len(column) for column in judgement.columns.values()} == {2} == {len(judgement)}
    assert judged(task, examples) == [(examples[0], examples[2]), (examples[4], examples[5])]
    assert len(set(judgement.columns[EXAMPLE].tolist())) == 2
    assert draw_scores([judgement], ["map"], num_draws=20).draws.shape == (20,)
