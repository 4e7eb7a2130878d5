import pytest

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example
from electrify.errors import DataError
from electrify.tasks.regression import ScorePrediction, build


def examples(*scores: str) -> list[Example]:
    return [Example("text", None, score, place="a.jsonl:3") for score in scores]


def test_order_and_distance_are_measured() -> None:
    rows = examples("1", "2", "4")
    result = build(rows, FinetuneConfig()).judge(rows, [ScorePrediction(value) for value in (1.0, 2.0, 3.0)]).metrics()
    assert result["spearman"] == pytest.approx(1)
    assert result["pearson"] == pytest.approx(0.9819805)
    assert result["minus_mse"] == pytest.approx(-1 / 3)


def test_constant_predictions_have_no_correlation() -> None:
    rows = examples("1", "2")
    result = build(rows, FinetuneConfig()).judge(rows, [ScorePrediction(1.0)] * 2).metrics()
    assert (result["spearman"], result["pearson"]) == (0, 0)


@pytest.mark.parametrize("score", ["good", "nan", "inf", ""])
def test_score_that_is_no_number_is_named(score: str) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:3: the label '.*' is not a number"):
        build(examples(score, "1"), FinetuneConfig())


def test_scores_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(DataError, match="the same score"):
        build(examples("1", "1.0"), FinetuneConfig())
