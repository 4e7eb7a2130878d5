"""Ranking figures equal scikit-learn's, ties included."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from electrify.objectives.ranking import auc, average_precision, recall_at_false_positives


@pytest.fixture(params=[0, 1, 2])
def scored(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(request.param)
    labels = torch.rand(3000, generator=generator) < 0.06
    scores = torch.randn(3000, generator=generator) + 1.5 * labels
    return (scores if request.param else (4 * scores).round() / 4), labels  # the first has many ties


def test_auc(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert auc(*scored) == pytest.approx(roc_auc_score(scored[1], scored[0]), abs=1e-12)


def test_average_precision(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert average_precision(*scored) == pytest.approx(average_precision_score(scored[1], scored[0]), abs=1e-12)


def test_recall_at_one_percent(scored: tuple[torch.Tensor, torch.Tensor]) -> None:
    false_positives, recall, _ = roc_curve(scored[1], scored[0], drop_intermediate=False)
    assert recall_at_false_positives(*scored) == pytest.approx(recall[false_positives <= 0.01].max(), abs=1e-12)


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_a_missing_class_gives_no_figure(labels: list[bool]) -> None:
    scores = torch.tensor([0.1, 0.2])
    assert math.isnan(auc(scores, torch.tensor(labels)))
    assert math.isnan(recall_at_false_positives(scores, torch.tensor(labels)))
