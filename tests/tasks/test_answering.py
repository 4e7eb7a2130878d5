import numpy as np
import pytest
from support.byte_level import byte_level

from electrify.config import FinetuneConfig
from electrify.data.questions import QuestionExample
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import ConfigError
from electrify.tasks.answering import AnswerPrediction, QuestionAnswering, build
from electrify.tasks.spans import plain_candidates

WORDS = [f"w{number}" for number in range(40)]
TOKENIZER = from_vocabulary([*SPECIAL_TOKENS, "q", *WORDS], is_cased=True)
CONTEXT = " ".join(WORDS)


def question(answer: str | None, asked: str = "q") -> QuestionExample:
    answers = () if answer is None else ((CONTEXT.index(answer), answer),)
    return QuestionExample("1", asked, CONTEXT, answers, "a.jsonl:1")


def task(**options: int) -> QuestionAnswering:
    config = FinetuneConfig.model_validate({"question": options})
    return QuestionAnswering(config, can_be_unanswerable=True)


def text_at(ids: list[int], span: tuple[int, int]) -> str:
    return " ".join(TOKENIZER.token(token) for token in ids[span[0] : span[1] + 1])


def test_answer_is_marked_in_every_window_that_holds_all_of_it_and_nowhere_else() -> None:
    encoded = task(stride=5).encode([question("w12 w13")], TOKENIZER, max_length=15)
    assert all(len(ids) <= 15 for ids in encoded.features.ids)
    marked = 0
    for ids, window in zip(encoded.features.ids, encoded.targets, strict=True):
        holds = {TOKENIZER.token_id("w12"), TOKENIZER.token_id("w13")} <= set(ids)
        assert (window.target != (0, 0)) == holds
        if holds:
            marked += 1
            assert text_at(ids, window.target) == "w12 w13"
    assert marked == 2  # the room is 11 tokens, a window begins every 5


def test_windows_cover_the_context_and_every_token_is_at_home_once() -> None:
    encoded = task(stride=5).encode([question(None)], TOKENIZER, max_length=15)
    homes = np.concatenate([window.offsets[window.is_home] for window in encoded.targets])
    assert sorted(homes[:, 0].tolist()) == [f"{CONTEXT} ".index(f"{word} ") for word in WORDS]
    assert {window.target for window in encoded.targets} == {(0, 0)}


def test_nothing_is_left_unread_where_windows_are_shorter_than_their_distance() -> None:
    answers = [question(word) for word in WORDS]
    encoded = task(stride=128).encode(answers, TOKENIZER, max_length=15)
    homes = [window.offsets[window.is_home] for window in encoded.targets if window.example == 0]
    assert len(np.concatenate(homes)) == len(WORDS)
    assert encoded.counts == {}


def test_segments_tell_question_and_context_apart() -> None:
    encoded = task().encode([question("w3")], TOKENIZER, max_length=64)
    assert encoded.features.type_ids is not None
    assert encoded.features.type_ids[0] == [0, 0, 0] + [1] * 41


def test_long_questions_are_cut_and_counted() -> None:
    encoded = task(max_question_length=4).encode([question("w3", "q " * 9), question("w3")], TOKENIZER, max_length=64)
    assert encoded.features.ids[0][1:6] == [TOKENIZER.token_id("q")] * 4 + [TOKENIZER.sep_id]
    assert encoded.counts == {"questions cut": 1}


def test_answer_longer_than_any_window_is_counted() -> None:
    encoded = task(stride=5).encode([question(" ".join(WORDS[:30]))], TOKENIZER, max_length=15)
    assert encoded.counts == {"answers too long for a window": 1}


def test_rows_without_room_are_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no room"):
        task().encode([question("w3")], TOKENIZER, max_length=11)


def test_chinese_rules_are_used_where_one_of_their_metrics_is_asked_for() -> None:
    example = QuestionExample("1", "q", "红色的楼", ((0, "红色"),), "")
    given = AnswerPrediction("1", "红色的", 0, 1.0, 0.0, "红色的")
    plain = QuestionAnswering(FinetuneConfig(), can_be_unanswerable=False)
    chinese = QuestionAnswering(FinetuneConfig(metric="char_f1"), can_be_unanswerable=False)
    assert plain.judge([example], [given]).metrics() == {"f1": 0.0, "exact": 0.0}
    found = chinese.judge([example], [given]).metrics()
    assert found == {"char_f1": pytest.approx(2 * 2 / 5), "char_exact": 0.0, "f1": 0.0, "exact": 0.0}
    assert chinese.metrics[:2] == ("char_f1", "char_exact")


def outputs_for(start: int, end: int, *, no_answer: float = -5.0) -> np.ndarray:
    return np.array([(0, 0, 0, no_answer), (start, end, 7.0, 0), (0, 0, 1.0, 0)])


def test_answer_is_cut_out_of_the_context_as_it_stands_there() -> None:
    example = QuestionExample("7", "q", "w1, (w2 w3)!", ((0, "w1"),), "")
    encoded = task().encode([example], TOKENIZER, max_length=32)
    pieces = [example.context[first:behind] for first, behind in encoded.targets[0].offsets]
    prediction = task().decode([outputs_for(pieces.index("w2"), pieces.index("w3"))], encoded)[0]
    assert (prediction.text, prediction.start) == ("w2 w3", 5)


def test_answer_of_a_byte_level_tokenizer_begins_with_its_word() -> None:
    example = QuestionExample("7", "the", "the dog ran", ((4, "dog"),), "")
    encoded = task().encode([example], byte_level(["the", "Ġdog", "Ġran"]), max_length=32)
    window = encoded.targets[0]
    start, end = window.target
    assert (start, end) == (window.first + 1, window.first + 1)
    prediction = task().decode([outputs_for(1, 1)], encoded)[0]
    assert (prediction.text, prediction.start) == ("dog", 4)


def test_best_window_wins_and_the_least_no_answer_counts() -> None:
    encoded = task(stride=5).encode([question("w12")], TOKENIZER, max_length=15)
    outputs = [np.array([(0, 0, 0, 3.0), (0, 0, float(number), 0)]) for number in range(len(encoded.targets))]
    outputs[0][0, 3] = -1.0
    prediction = task().decode(outputs, encoded)[0]
    last = encoded.targets[-1].offsets[0]
    assert prediction.best_text == CONTEXT[last[0] : last[1]]
    assert prediction.no_answer_score == -1.0 - (len(outputs) - 1)


def test_threshold_decides_whether_something_is_said() -> None:
    encoded = task().encode([question("w12")], TOKENIZER, max_length=64)
    outputs = [outputs_for(1, 2, no_answer=9.0)]  # 2 more than the best answer
    assert task().decode(outputs, encoded)[0].text == ""
    generous = QuestionAnswering(FinetuneConfig(), can_be_unanswerable=True, threshold=2.5)
    assert generous.decode(outputs, encoded)[0].text == "w1 w2"
    always = QuestionAnswering(FinetuneConfig(), can_be_unanswerable=False)
    assert always.decode(outputs, encoded)[0].text == "w1 w2"


def test_candidates_are_the_best_allowed_pairs() -> None:
    config = FinetuneConfig.model_validate({"question": {"beam": 40, "max_answer_length": 3}}).question
    window = task().encode([question("w12")], TOKENIZER, max_length=64).targets[0]
    draw = np.random.default_rng(0)
    for _ in range(20):
        logits = draw.normal(size=(44, 2))
        found = plain_candidates(logits, window, config)
        assert found[0, 3] == pytest.approx(logits[0].sum())
        pairs = [
            (logits[3 + start, 0] + logits[3 + end, 1], start, end)
            for start in range(40)
            for end in range(start, min(start + 3, 40))
        ]
        best = max(pairs)
        assert (found[1, 2], found[1, 0], found[1, 1]) == pytest.approx(best)
        assert (np.diff(found[1:, 2]) <= 0).all()


def test_task_without_impossible_questions_always_answers() -> None:
    assert not build([question("w1")], FinetuneConfig()).can_be_unanswerable
    assert build([question("w1"), question(None)], FinetuneConfig()).can_be_unanswerable
