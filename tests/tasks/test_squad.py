"""The rules of the SQuAD scripts; values worked out by hand from them (evaluate-v1.1.py, evaluate-v2.0.py)."""

import numpy as np
import pytest

from electrify.tasks.squad import best_threshold, exact_match, f1, formula, normalise


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a man, an apple and the sea", "man apple and sea"),
        ("Theatre", "theatre"),
        ("U.S.", "us"),
        ("the", ""),
        ("  ", ""),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation goes
        ("1,234.5", "12345"),
    ],
)
def test_answers_are_made_alike_before_they_are_compared(answer: str, compared: str) -> None:
    assert normalise(answer) == compared


@pytest.mark.parametrize(
    ("given", "accepted", "exact", "words"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"], 1, 1),
        ("the denver broncos.", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 * 1 * 0.5 / 1.5),
        ("in Paris in", ["in Paris"], 0, 0.8),  # words count as often as they stand there: 2 of 3, 2 of 2
        ("London", ["Paris", "Berlin"], 0, 0),
        ("Paris France", ["London", "Paris"], 0, 2 / 3),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("", ["the"], 1, 1),  # an accepted answer without a word does not count
    ],
)
def test_scores_are_those_of_the_scripts(given: str, accepted: list[str], exact: float, words: float) -> None:
    assert exact_match(given, accepted) == exact
    assert f1(given, accepted) == pytest.approx(words)


def test_questions_with_and_without_an_answer_are_told_apart() -> None:
    columns = {
        "exact": np.array([1.0, 0.0, 1.0]),
        "f1": np.array([1.0, 0.5, 1.0]),
        "has_answer": np.array([1.0, 1.0, 0.0]),
    }
    assert formula(columns) == {
        "f1": pytest.approx(2.5 / 3),
        "exact": pytest.approx(2 / 3),
        "no_answer_accuracy": 1.0,
        "has_answer_f1": 0.75,
        "has_answer_exact": 0.5,
    }


@pytest.mark.parametrize("num_ties", [0, 3])
def test_best_threshold_is_the_best_of_all(num_ties: int) -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        scores, has_answer = draw.normal(size=8), draw.random(8) < 0.5
        scores = draw.permutation([*scores[num_ties:], *[scores[-1]] * num_ties])
        quality = np.where(has_answer, draw.random(8), 0.0)
        found = best_threshold(scores, quality, has_answer)

        def worth(threshold: float, scores=scores, quality=quality, has_answer=has_answer) -> float:
            return float(np.where(scores > threshold, ~has_answer, quality).mean())

        best = max(worth(value) for value in [scores.min() - 1, *scores])
        assert worth(found.value) == pytest.approx(best)
        assert found.metric == pytest.approx(best)


def test_questions_without_a_candidate_leave_the_threshold_finite() -> None:
    nothing = best_threshold(np.full(3, np.inf), np.zeros(3), np.array([True, False, False]))
    assert (nothing.value, nothing.metric) == (0.0, pytest.approx(2 / 3))
    some = best_threshold(np.array([np.inf, 1.0]), np.array([0.0, 1.0]), np.array([False, True]))
    assert (some.value, some.metric) == (1.0, 1.0)
