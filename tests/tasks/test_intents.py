import numpy as np
import pytest
import torch

from electrify.config import FinetuneConfig
from electrify.data.tagged import TaggedExample
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.errors import ConfigError, DataError
from electrify.models.intent_heads import count_intents
from electrify.tasks.intents import IntentPrediction, IntentSlots, build
from electrify.tasks.task import Batch

WORDS = [f"w{number}" for number in range(12)]
TOKENIZER = from_vocabulary([*SPECIAL_TOKENS, *WORDS], is_cased=True)


def sentence(label: str | None, *tags: str) -> TaggedExample:
    return TaggedExample(tuple(WORDS[: len(tags)]), tags, "a.jsonl:1", label)


TRAIN = [sentence("fly", "O", "B-city", "I-city"), sentence("fare", "O", "O")]
TASK = build(TRAIN, FinetuneConfig(window_overlap=1))


def said(label: str, *tags: str) -> IntentPrediction:
    return IntentPrediction(label, 1.0, list(WORDS[: len(tags)]), list(tags), [1.0] * len(tags), 0)


def test_intents_stand_before_tags() -> None:
    assert TASK.labels == ("intent:fare", "intent:fly", "O", "B-city", "I-city")
    assert TASK.intents == ("fare", "fly")
    assert TASK.slots.labels == ("O", "B-city", "I-city")


def test_sentence_counts_only_if_all_of_it_is_right() -> None:
    examples = [sentence("fly", "O", "B-city"), sentence("fly", "B-city", "O"), sentence("fare", "O", "O")]
    predictions = [said("fly", "O", "B-city"), said("fly", "O", "O"), said("fly", "O", "O")]
    assert TASK.judge(examples, predictions).metrics() == {
        "sentence_accuracy": pytest.approx(1 / 3),
        "intent_accuracy": pytest.approx(2 / 3),
        "slot_f1": pytest.approx(2 / 3),
        "slot_precision": 1.0,
        "slot_recall": 0.5,
        "slot_accuracy": pytest.approx(5 / 6),
    }


def test_what_training_has_not_is_counted_and_wrong() -> None:
    examples = [sentence("meal", "B-dish", "O")]
    encoded = TASK.encode(examples, TOKENIZER, max_length=16)
    assert encoded.counts == {"intents that training has not": 1, "tags that training has not": 1}
    assert TASK.judge(examples, [said("fly", "O", "O")]).metrics()["sentence_accuracy"] == 0.0


class Fixed(torch.nn.Module):
    """Says for every row which logits it was made with."""

    def __init__(self, intents: list[list[float]], tag: list[float]) -> None:
        super().__init__()
        self.intents, self.tag = torch.tensor(intents), torch.tensor(tag)

    def forward(self, inputs):
        rows, length = inputs.input_ids.shape
        return self.intents[:rows], self.tag.expand(rows, length, -1)


def batch_of(task: IntentSlots, examples: list[TaggedExample], **options) -> Batch:
    from electrify.tasks.batches import choose_place, make_batch

    encoded = task.encode(examples, TOKENIZER, **options)
    units = np.arange(encoded.features.num_units)
    return make_batch(encoded, units, choose_place("fp32", pad_id=TOKENIZER.pad_id))


def test_loss_of_a_sentence_is_that_of_its_intent_and_the_mean_of_its_words() -> None:
    batch = batch_of(TASK, TRAIN, max_length=16, is_training=True)
    network = Fixed([[0.0, 0.0], [1.0, 0.0]], [0.0, 0.0, 0.0])
    expected = np.log(2) + np.log(1 + np.exp(-1)) + 2 * np.log(3)
    assert float(TASK.loss(network, batch)) == pytest.approx(expected, rel=1e-6)
    assert TASK.weight(batch.encoded, batch.units) == 2


def test_long_sentence_has_one_intent_and_every_word_counts_once() -> None:
    example = sentence("fly", *["O"] * 12)
    batch = batch_of(TASK, [example], max_length=7, is_training=True)
    rows = len(batch.units)
    assert rows == 3
    assert TASK.weight(batch.encoded, batch.units) == 1
    network = Fixed([[0.0, 5.0], [9.0, 0.0], [9.0, 0.0]], [0.0, 0.0, 0.0])
    expected = np.log(1 + np.exp(-5)) + np.log(3)
    assert float(TASK.loss(network, batch)) == pytest.approx(expected, rel=1e-5)
    (found,) = TASK.decode(TASK.outputs(network, batch), batch.encoded)
    assert (found.label, found.tags) == ("fly", ["O"] * 12)  # by the first window


def test_training_needs_two_intents() -> None:
    with pytest.raises(DataError, match=r"1 intent\(s\) \(fly\)"):
        build(TRAIN[:1], FinetuneConfig())


@pytest.mark.parametrize("labels", [("O", "B-x"), ("intent:a",), ("O", "intent:a")])
def test_labels_that_are_no_intents_and_tags_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="must come before tags"):
        count_intents(labels)
