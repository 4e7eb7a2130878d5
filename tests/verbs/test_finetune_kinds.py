"""Every kind of task through the verbs: it is learned, comes back from its folder, and opens in Transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.runs import BODIES
from support.tasks import MAKERS, write_task

from electrify.config import FinetuneConfig
from electrify.models.electra import ElectraConfig
from electrify.tasks.batches import choose_place, predict_outputs
from electrify.tasks.kinds import KINDS, read_part
from electrify.verbs.evaluate import evaluate
from electrify.verbs.finetune import FinetuneReport, finetune
from electrify.verbs.finetuned import open_finetuned
from electrify.verbs.predict import predict

SETTINGS = {
    "max_length": 24, "num_epochs": 5, "batch_size": 8, "learning_rate": 0.02, "layerwise_lr_decay": 1.0, "dropout":
    0.0, "precision": "fp32", "warmup_share": 0.2,
}  # fmt: skip
ENOUGH = {
    "classification": 0.9, "multilabel": 0.9, "regression": 0.9, "ranking": 0.9, "tagging": 0.95,
    "question_answering": 0.8, "multiple_choice": 0.9, "intent_slots": 0.9,
}  # fmt: skip
LONGER = {  # two things to learn, or several
    "intent_slots": {"num_epochs": 20, "learning_rate": 0.02},
    "multilabel": {"num_epochs": 20, "learning_rate": 0.005},
}
SEEDS = {"intent_slots": (0, 1, 2, 3)}
"""An intent is read at [CLS], which says nothing in a network of ten steps: some seeds stay at the commonest one."""
Tuned = tuple[Path, FinetuneReport, Path]


@pytest.fixture(scope="module")
def encoders(electra_run: Path, modernbert_run: Path) -> dict[str, Path]:
    return {"electra": electra_run / "discriminator", "modernbert": modernbert_run / "discriminator"}


@pytest.fixture(scope="module")
def tuned(encoders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Tuned]:
    """Gives the folder, report and validation file of a kind of task on a body, each trained once."""
    known: dict[tuple[str, str], Tuned] = {}

    def get(kind: str, body: str) -> Tuned:
        if (kind, body) not in known:
            folder = tmp_path_factory.mktemp(kind)
            train = write_task(kind, folder / "train.jsonl", num_examples=192)
            valid = write_task(kind, folder / "valid.jsonl", num_examples=48, seed=1)
            report = finetune(
                encoders[body], task=kind, train=train, validation=valid, output=folder / "out",
                seeds=SEEDS.get(kind, (0,)), config=FinetuneConfig.model_validate(SETTINGS | LONGER.get(kind, {})),
            )  # fmt: skip
            known[kind, body] = folder / "out", report, valid
        return known[kind, body]

    return get


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == set(MAKERS) == set(ENOUGH)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_toy_task_is_learned_and_comes_back_from_its_folder(
    kind: str, body: str, tuned: Callable[[str, str], Tuned]
) -> None:
    folder, report, valid = tuned(kind, body)
    published = report.seeds[report.published_seed].validation
    assert published[report.metric] > ENOUGH[kind]
    evaluation = evaluate(folder, valid, num_draws=20, precision="fp32")
    assert evaluation.metrics == pytest.approx(report.seeds[report.published_seed].validation, abs=1e-6)
    interval = evaluation.intervals[report.metric]
    assert interval.low <= interval.value <= interval.high
    examples = read_part(kind, valid)
    assert len(predict(folder, examples, precision="fp32").predictions) == len(examples)


def network_outputs(folder: Path, valid: Path) -> tuple[list[np.ndarray], Any, list[Any]]:
    opened = open_finetuned(folder)
    examples = read_part(opened.task.kind, valid)[:8]
    encoded = opened.task.encode(examples, opened.tokenizer, max_length=opened.max_length)
    place = choose_place("fp32", pad_id=opened.tokenizer.pad_id)
    return predict_outputs(opened.network, opened.task, encoded, place), opened, examples


AUTO = {
    "classification": transformers.AutoModelForSequenceClassification,
    "multilabel": transformers.AutoModelForSequenceClassification,
    "regression": transformers.AutoModelForSequenceClassification,
    "ranking": transformers.AutoModelForSequenceClassification,
    "tagging": transformers.AutoModelForTokenClassification,
    "question_answering": transformers.AutoModelForQuestionAnswering,
    "multiple_choice": transformers.AutoModelForMultipleChoice,
}


def theirs(kind: str, folder: Path) -> tuple[Any, Any]:
    network, info = AUTO[kind].from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return network.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "ranking"])
def test_scores_of_rows_are_those_of_transformers(kind: str, body: str, tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned(kind, body)
    outputs, opened, examples = network_outputs(folder, valid)
    network, tokenizer = theirs(kind, folder)
    assert network.config.problem_type == opened.task.problem_type
    for example, output in zip(examples, outputs, strict=True):
        inputs = tokenizer(
            example.text, example.text_b, truncation=True, max_length=opened.max_length, return_tensors="pt"
        )
        torch.testing.assert_close(torch.from_numpy(output), network(**inputs).logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_pipeline_of_transformers_gives_equal_scores(kind: str, tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned(kind, "electra")
    examples = read_part(kind, valid)[:6]
    pipeline = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    mine = predict(folder, examples, precision="fp32").predictions
    for one, other in zip(mine, pipeline([example.text for example in examples]), strict=True):
        scores = {score["label"]: score["score"] for score in other}
        expected = {"score": one.score} if kind == "regression" else one.probabilities
        assert scores == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("body", BODIES)
def test_tags_are_those_of_transformers(body: str, tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned("tagging", body)
    outputs, _opened, examples = network_outputs(folder, valid)
    network, tokenizer = theirs("tagging", folder)
    for example, output in zip(examples, outputs, strict=True):
        inputs = tokenizer(list(example.words), is_split_into_words=True, return_tensors="pt")
        firsts = [inputs.word_ids().index(word) for word in range(len(example.words))]
        torch.testing.assert_close(torch.from_numpy(output), network(**inputs).logits[0, firsts], rtol=1e-4, atol=1e-4)


def test_token_pipeline_finds_the_same_entities(tuned: Callable[[str, str], Tuned]) -> None:
    from electrify.tasks.tags import read_spans

    folder, _, valid = tuned("tagging", "electra")
    examples = read_part("tagging", valid)[:6]
    pipeline = transformers.pipeline("token-classification", model=str(folder), aggregation_strategy="first")
    for example, one in zip(examples, predict(folder, examples, precision="fp32").predictions, strict=True):
        found = [(entity["entity_group"], entity["word"]) for entity in pipeline(" ".join(example.words))]
        expected = [(name, " ".join(one.words[start:end])) for name, start, end in read_spans(one.tags)]
        assert found == expected


@pytest.mark.parametrize("body", BODIES)
@torch.no_grad()
def test_answers_are_those_of_transformers(body: str, tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned("question_answering", body)
    outputs, _opened, examples = network_outputs(folder, valid)
    network, tokenizer = theirs("question_answering", folder)
    for example, output in zip(examples, outputs, strict=True):
        inputs = tokenizer(example.question, example.context, return_tensors="pt")
        their = network(**inputs)
        start, end = their.start_logits[0], their.end_logits[0]
        assert output[0, 3] == pytest.approx(float(start[0] + end[0]), abs=1e-4)
        first = inputs.sequence_ids().index(1)
        best = output[1]
        assert best[2] == pytest.approx(float(start[first + int(best[0])] + end[first + int(best[1])]), abs=1e-4)


@torch.no_grad()
def test_best_answer_is_the_best_pair_of_all(tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned("question_answering", "electra")
    examples = [one for one in read_part("question_answering", valid) if one.answers][:6]
    network, tokenizer = theirs("question_answering", folder)  # Transformers 5 has the class and no pipeline for it
    for example, mine in zip(examples, predict(folder, examples, precision="fp32").predictions, strict=True):
        inputs = tokenizer(example.question, example.context, return_tensors="pt", return_offsets_mapping=True)
        offsets = inputs.pop("offset_mapping")[0]
        first = inputs.sequence_ids().index(1)
        output = network(**inputs)
        size = len(offsets) - 1 - first
        pairs = output.start_logits[0, first:-1, None] + output.end_logits[0, None, first:-1]
        start, end = divmod(int(pairs.masked_fill(~torch.ones(size, size).triu().bool(), -1e9).argmax()), size)
        assert mine.best_text == example.context[offsets[first + start, 0] : offsets[first + end, 1]]


@pytest.mark.parametrize("body", BODIES)
def test_choices_are_those_of_transformers(body: str, tuned: Callable[[str, str], Tuned]) -> None:
    folder, _, valid = tuned("multiple_choice", body)
    outputs, _, examples = network_outputs(folder, valid)
    network, tokenizer = theirs("multiple_choice", folder)
    for example, output in zip(examples, outputs, strict=True):
        texts = [example.text] * len(example.choices)
        inputs = tokenizer(texts, list(example.choices), return_tensors="pt", padding=True)
        logits = network(**{name: value[None] for name, value in inputs.items()}).logits[0]
        torch.testing.assert_close(torch.from_numpy(output), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", BODIES)
def test_original_head_is_a_token_classifier_read_at_its_first_token(
    body: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    train = write_task("classification", tmp_path / "train.jsonl")
    config = FinetuneConfig.model_validate(SETTINGS | {"head": "original", "num_epochs": 3})
    report = finetune(encoders[body], train=train, validation=train, output=tmp_path / "out", seeds=(0,), config=config)
    assert report.validation["mean"] > 0.9
    outputs, _, examples = network_outputs(tmp_path / "out", train)
    network, tokenizer = theirs("tagging", tmp_path / "out")
    head = [name for name in network.state_dict() if "classifier" in name]
    assert head == ["classifier.weight", "classifier.bias"]
    for example, output in zip(examples, outputs, strict=True):
        logits = network(**tokenizer(example.text, return_tensors="pt")).logits[0, 0]
        torch.testing.assert_close(torch.from_numpy(output), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", BODIES)
def test_joint_head_answers_and_its_body_opens_in_transformers(
    body: str, encoders: dict[str, Path], tmp_path: Path
) -> None:
    train = write_task("question_answering", tmp_path / "train.jsonl", num_examples=192)
    config = FinetuneConfig.model_validate(
        SETTINGS | {"question": {"head": "joint"}, "num_epochs": 20, "learning_rate": 0.01}
    )
    report = finetune(
        encoders[body], task="question_answering", train=train, validation=train, output=tmp_path / "out", seeds=(0,),
        config=config,
    )  # fmt: skip
    assert report.validation["mean"] > ENOUGH["question_answering"]
    assert evaluate(tmp_path / "out", train, num_draws=0, precision="fp32").metrics["f1"] == pytest.approx(
        report.validation["mean"], abs=1e-6
    )
    opened = open_finetuned(tmp_path / "out")
    name = "ElectraModel" if isinstance(opened.network.config, ElectraConfig) else "ModernBertModel"
    network = getattr(transformers, name).from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([opened.tokenizer.encode(["the cat eats fish"], max_length=24)[0].input_ids])
    from electrify.models.inputs import Inputs

    torch.testing.assert_close(network(ids).last_hidden_state, opened.network.body(Inputs(ids)), rtol=1e-4, atol=1e-4)
