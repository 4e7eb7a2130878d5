"""Questions are scored by themselves, whatever the number of their choices."""

import numpy as np
import pytest
import torch

from electrify.config import FinetuneConfig
from electrify.data.choices import ChoiceExample
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.models.choice_heads import ElectraForMultipleChoice
from electrify.models.electra import ElectraConfig
from electrify.tasks.batches import choose_place, make_batch, predict_outputs
from electrify.tasks.choice import MultipleChoice

WORDS = ["a", "b", "c", "d", "e", "f"]
TOKENIZER = from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True)
TASK = MultipleChoice(FinetuneConfig())
PLACE = choose_place("fp32", pad_id=TOKENIZER.pad_id)
QUESTIONS = [
    ChoiceExample("a", ("b", "c d"), 1),
    ChoiceExample("b", ("a", "f", "c", "d e"), 3),
    ChoiceExample("c", ("b", "c", "d"), 0),
]


@pytest.fixture
def network() -> ElectraForMultipleChoice:
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    return ElectraForMultipleChoice(
        ElectraConfig(vocab_size=TOKENIZER.vocab_size, num_hidden_layers=1, initializer_range=0.5, **sizes)
    )


def test_questions_with_different_numbers_of_choices_do_not_change_each_other(
    network: ElectraForMultipleChoice,
) -> None:
    def predict(examples: list[ChoiceExample]) -> list[list[float]]:
        encoded = TASK.encode(examples, TOKENIZER, max_length=16)
        outputs = predict_outputs(network, TASK, encoded, PLACE)
        return [one.probabilities for one in TASK.decode(outputs, encoded)]

    together = predict(QUESTIONS)
    assert [len(one) for one in together] == [2, 4, 3]
    for one, question in zip(together, QUESTIONS, strict=True):
        assert one == pytest.approx(predict([question])[0], abs=1e-6)


def test_loss_is_the_sum_over_questions(network: ElectraForMultipleChoice) -> None:
    def loss(examples: list[ChoiceExample]) -> torch.Tensor:
        encoded = TASK.encode(examples, TOKENIZER, max_length=16)
        return TASK.loss(network, make_batch(encoded, np.arange(len(examples)), PLACE))

    together = loss(QUESTIONS)
    torch.testing.assert_close(together, sum(loss([one]) for one in QUESTIONS))
    gradients = torch.autograd.grad(together, list(network.parameters()), allow_unused=True)
    assert all(one is None or one.isfinite().all() for one in gradients)
