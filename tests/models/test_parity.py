"""Every network equals Transformers' on the same weights: logits, gradients, and folders in both directions.

Float32, tiny sizes, weights made larger than usual so that errors show. Tolerance: 1e-5 relative and absolute for
logits, 1e-4 relative and 1e-5 absolute for gradients, over real tokens.
"""

from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from electrify.models.checkpoint import load_model, save_model
from electrify.models.inputs import Inputs

ELECTRA = [
    "ElectraModel",
    "ElectraForMaskedLM",
    "ElectraForPreTraining",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "ElectraForQuestionAnswering",
    "ElectraForMultipleChoice",
]
MODERNBERT = [
    "ModernBertModel",
    "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
    "ModernBertForQuestionAnswering",
    "ModernBertForMultipleChoice",
]
NUM_TOKENS = 30


def electra_config(**changes):
    sizes = {
        "vocab_size": 50,
        "embedding_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "num_labels": 3,
    }
    return transformers.ElectraConfig(**{**sizes, **changes})


def modernbert_config(**changes):
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "local_attention": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "num_labels": 3,
    }
    return transformers.ModernBertConfig(**{**sizes, **changes})


def reference(name: str, **changes) -> nn.Module:
    if name.endswith("QuestionAnswering"):
        changes = {"num_labels": 2, **changes}
    config = electra_config(**changes) if name.startswith("Electra") else modernbert_config(**changes)
    torch.manual_seed(1)
    network = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def padded_inputs(name: str) -> tuple[Inputs, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    input_ids = torch.randint(1, 50, (3, NUM_TOKENS), generator=generator)
    attention_mask = torch.arange(NUM_TOKENS) < torch.tensor([[NUM_TOKENS], [20], [5]])
    input_ids = input_ids.where(attention_mask, 0)
    theirs = {"input_ids": input_ids, "attention_mask": attention_mask.long()}
    if not name.startswith("Electra"):
        return Inputs(input_ids, attention_mask), theirs
    token_type_ids = (torch.arange(NUM_TOKENS) > 10).long().expand(3, NUM_TOKENS)
    return Inputs(input_ids, attention_mask, token_type_ids), {**theirs, "token_type_ids": token_type_ids}


def output_of(network: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Their first output in the shape of ours: start and end together, one score for each choice."""
    if type(network).__name__.endswith("MultipleChoice"):
        return network(**{key: value[None] for key, value in inputs.items()}).logits[0]
    output = network(**inputs)
    if type(network).__name__.endswith("QuestionAnswering"):
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return output[0]


def over_real(output: Tensor, attention_mask: Tensor) -> Tensor:
    return output[attention_mask.bool()] if output.shape[:2] == attention_mask.shape else output


def opened_here(network: nn.Module, folder: Path, name: str) -> nn.Module:
    network.save_pretrained(folder)
    return load_model(folder, name)


@pytest.mark.parametrize("name", ELECTRA + MODERNBERT)
def test_a_folder_of_theirs_gives_their_logits_and_gradients(name, tmp_path):
    theirs = reference(name)
    ours = opened_here(theirs, tmp_path, name)
    inputs, their_inputs = padded_inputs(name)
    our_output = over_real(ours(inputs), inputs.attention_mask)
    their_output = over_real(output_of(theirs, their_inputs), inputs.attention_mask)
    torch.testing.assert_close(our_output, their_output, rtol=1e-5, atol=1e-5)

    weights = torch.randn(our_output.shape, generator=torch.Generator().manual_seed(3))
    (our_output * weights).sum().backward()
    (their_output * weights).sum().backward()
    our_gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    their_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert our_gradients.keys() == their_gradients.keys()
    for parameter, gradient in their_gradients.items():
        if gradient is None:
            assert our_gradients[parameter] is None
            continue
        torch.testing.assert_close(our_gradients[parameter], gradient, rtol=1e-4, atol=1e-5, msg=parameter)


@pytest.mark.parametrize("name", ELECTRA + MODERNBERT)
def test_a_folder_of_ours_opens_there_with_nothing_missing_or_unexpected(name, tmp_path):
    ours = opened_here(reference(name), tmp_path / "theirs", name)
    save_model(ours, tmp_path / "ours")
    network = getattr(transformers, name)
    theirs, report = network.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    inputs, their_inputs = padded_inputs(name)
    torch.testing.assert_close(
        over_real(ours(inputs), inputs.attention_mask),
        over_real(output_of(theirs.eval(), their_inputs), inputs.attention_mask),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ELECTRA + MODERNBERT)
def test_parameter_names_are_the_published_ones(name, tmp_path):
    theirs = reference(name)
    ours = opened_here(theirs, tmp_path, name)
    tied = {"generator_lm_head.weight", "decoder.weight"}
    assert set(ours.state_dict()) == set(theirs.state_dict()) - tied
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


@pytest.mark.parametrize("name", ["ElectraForPreTraining", "ModernBertForTokenClassification"])
def test_full_rows_without_mask_and_segments_equal_theirs(name, tmp_path):
    theirs = reference(name)
    ours = opened_here(theirs, tmp_path, name)
    input_ids = padded_inputs(name)[0].input_ids[:1]
    torch.testing.assert_close(ours(Inputs(input_ids)), theirs(input_ids=input_ids)[0], rtol=1e-5, atol=1e-5)


def test_electra_without_a_projection_equals_theirs(tmp_path):
    theirs = reference("ElectraForMaskedLM", embedding_size=16)
    ours = opened_here(theirs, tmp_path, "ElectraForMaskedLM")
    inputs, their_inputs = padded_inputs("ElectraForMaskedLM")
    torch.testing.assert_close(ours(inputs), theirs(**their_inputs).logits, rtol=1e-5, atol=1e-5)


def test_modernbert_pooling_by_the_mean_of_real_tokens_equals_theirs(tmp_path):
    name = "ModernBertForSequenceClassification"
    theirs = reference(name, classifier_pooling="mean")
    ours = opened_here(theirs, tmp_path, name)
    inputs, their_inputs = padded_inputs(name)
    torch.testing.assert_close(ours(inputs), theirs(**their_inputs).logits, rtol=1e-5, atol=1e-5)


def test_modernbert_with_other_layer_kinds_and_bases_equals_theirs(tmp_path):
    name = "ModernBertForMaskedLM"
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    bases = {
        kind: {"rope_type": "default", "rope_theta": base} for kind, base in zip(kinds[:2], (50.0, 900.0), strict=True)
    }
    theirs = reference(name, layer_types=kinds, rope_parameters=bases)
    ours = opened_here(theirs, tmp_path, name)
    input_ids = padded_inputs(name)[0].input_ids[:1]
    torch.testing.assert_close(ours(Inputs(input_ids)), theirs(input_ids=input_ids).logits, rtol=1e-5, atol=1e-5)
    save_model(ours, tmp_path / "again")
    again = transformers.ModernBertForMaskedLM.from_pretrained(tmp_path / "again").eval()
    torch.testing.assert_close(again(input_ids=input_ids).logits, theirs(input_ids=input_ids).logits)


def test_modernbert_discriminator_is_the_log_odds_of_their_token_classifier(tmp_path):
    labels = {0: "original", 1: "replaced"}
    theirs = reference("ModernBertForTokenClassification", num_labels=2, id2label=labels)
    ours = opened_here(theirs, tmp_path, "ModernBertForPreTraining")
    input_ids = padded_inputs("ModernBert")[0].input_ids[:1]
    their_probability = theirs(input_ids=input_ids).logits.softmax(-1)[..., 1]
    torch.testing.assert_close(ours(Inputs(input_ids)).sigmoid(), their_probability, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ElectraForMaskedLM", "ModernBertForMaskedLM"])
def test_bfloat16_autocast_stays_near_float32(name, tmp_path):
    ours = opened_here(reference(name), tmp_path, name)
    inputs, _ = padded_inputs(name)
    exact = over_real(ours(inputs), inputs.attention_mask)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = over_real(ours(inputs), inputs.attention_mask)
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).norm() / exact.norm()
    assert error < 0.02  # bfloat16 has 8 bits: 0.004 a step


def test_their_sharded_folder_opens(tmp_path):
    theirs = reference("ElectraForPreTraining")
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ours = load_model(tmp_path, "ElectraForPreTraining")
    inputs, their_inputs = padded_inputs("ElectraForPreTraining")
    torch.testing.assert_close(ours(inputs), theirs(**their_inputs).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ElectraForSequenceClassification", "ModernBertForSequenceClassification"])
def test_labels_are_theirs_in_both_directions(name, tmp_path):
    theirs = reference(name, id2label={0: "no", 1: "maybe", 2: "yes"})
    ours = opened_here(theirs, tmp_path / "theirs", name)
    assert ours.labels == ("no", "maybe", "yes")
    save_model(ours, tmp_path / "ours")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert config.id2label == {0: "no", 1: "maybe", 2: "yes"}
    assert config.label2id == {"no": 0, "maybe": 1, "yes": 2}
