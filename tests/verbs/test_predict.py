from pathlib import Path

import pytest
import torch
import transformers
from support.corpora import sentence, write_examples, write_rows

from electrify.config import FinetuneConfig
from electrify.data.labelled import Example, read_examples
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError, DataError
from electrify.verbs.finetune import finetune
from electrify.verbs.predict import evaluate, predict


@pytest.fixture(scope="module")
def classifier(modernbert_run: Path, labelled: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that knows its two labels but for nothing."""
    folder = tmp_path_factory.mktemp("classifier") / "out"
    finetune(
        modernbert_run / "discriminator",
        train=labelled["train"],
        validation=labelled["validation"],
        output=folder,
        seeds=(0,),
        config=FinetuneConfig(
            max_length=16, num_epochs=4, batch_size=16, learning_rate=0.02, layerwise_lr_decay=1.0, dropout=0.0
        ),
    )
    return folder


def texts(*values: str) -> list[Example]:
    return [Example(value, None, None) for value in values]


def test_predictions_are_in_the_order_of_the_examples(classifier: Path) -> None:
    values = [sentence(0), "the cow", sentence(1) + " the", "the dog barks ."]
    together = predict(classifier, texts(*values), precision="fp32").predictions
    alone = [predict(classifier, texts(value), precision="fp32").predictions[0] for value in values]
    for one, other in zip(together, alone, strict=True):
        assert one.label == other.label
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-4)


def test_more_examples_than_one_batch_are_all_predicted(classifier: Path) -> None:
    result = predict(classifier, texts(*[sentence(number % 2) for number in range(150)]))
    assert [one.label for one in result.predictions] == ["pet", "wild"] * 75


def test_labels_are_not_needed(classifier: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.jsonl", [{"text": sentence(0)}])
    assert predict(classifier, read_examples(path, needs_labels=False)).predictions[0].label == "pet"


def test_files_and_plain_texts_are_examples_too(classifier: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.jsonl", [{"text": sentence(0)}, {"text": sentence(1)}])
    expected = predict(classifier, texts(sentence(0), sentence(1)))
    assert predict(classifier, str(path)) == predict(classifier, [sentence(0), sentence(1)]) == expected


def test_no_examples_have_no_predictions(classifier: Path) -> None:
    assert predict(classifier, []).predictions == []


def test_examples_longer_than_in_training_are_cut_and_counted(classifier: Path) -> None:
    long = " ".join([sentence(0)] * 2)
    result = predict(classifier, texts(long, sentence(1)), precision="fp32")
    assert result.num_cut_examples == 1
    first_tokens = " ".join(long.split()[:14])  # 16 with [CLS] and [SEP]
    cut = predict(classifier, texts(first_tokens), precision="fp32")
    assert cut.num_cut_examples == 0
    assert result.predictions[0].probabilities == pytest.approx(cut.predictions[0].probabilities, rel=1e-4)


def test_evaluation_counts_right_and_wrong(classifier: Path, tmp_path: Path) -> None:
    rows = [
        {"text": sentence(0), "label": "pet"},
        {"text": sentence(2), "label": "pet"},
        {"text": sentence(1), "label": "pet"},  # which is wild
        {"text": sentence(3), "label": "wild"},
    ]
    result = evaluate(classifier, write_rows(tmp_path / "a.jsonl", rows))
    assert result.num_examples == 4
    assert result.confusion == {"pet": {"pet": 2, "wild": 1}, "wild": {"pet": 0, "wild": 1}}
    assert result.metrics["accuracy"] == 0.75


def test_label_that_the_model_has_not_is_an_error(classifier: Path, tmp_path: Path) -> None:
    path = write_examples(tmp_path / "a.jsonl", num_examples=30, num_labels=3)
    with pytest.raises(DataError, match=r"a\.jsonl:\d+: the label 'farm'"):
        evaluate(classifier, path)


def test_one_label_of_transformers_is_a_number(electra_run: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(electra_run / "discriminator")
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    settings = transformers.ElectraConfig(
        vocab_size=tokenizer.vocab_size, num_hidden_layers=1, initializer_range=0.5, num_labels=1, **sizes
    )
    torch.manual_seed(0)
    network = transformers.ElectraForSequenceClassification(settings).eval()
    network.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    examples = [Example("the cat", "meows", None), Example("the dog", "the cow", None)]
    found = [one.score for one in predict(tmp_path, examples, precision="fp32").predictions]
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = [network(**read(one.text, one.text_b, return_tensors="pt")).logits.item() for one in examples]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_several_numbers_at_once_are_refused(electra_run: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(electra_run / "discriminator")
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    settings = transformers.ElectraConfig(
        vocab_size=tokenizer.vocab_size, num_hidden_layers=1, num_labels=3, problem_type="regression", **sizes
    )
    transformers.ElectraForSequenceClassification(settings).save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"predicts 3 numbers at once.*electrify finetune"):
        predict(tmp_path, texts("the cat"))


@pytest.mark.parametrize("role", ["discriminator", "generator"])
def test_folder_without_a_classifier_is_an_error(role: str, electra_run: Path, modernbert_run: Path) -> None:
    for run in (electra_run, modernbert_run):
        with pytest.raises(CheckpointError, match=r"not a fine-tuned network.*electrify finetune"):
            predict(run / role, texts("the cat"))
