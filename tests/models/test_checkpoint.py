import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from electrify.errors import CheckpointError, ConfigError
from electrify.models.checkpoint import load_model, save_model, saved_network
from electrify.models.choice_heads import ElectraForMultipleChoice
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import (
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)

ELECTRA = ElectraConfig(
    vocab_size=50,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
)
MODERNBERT = ModernBertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    pad_token_id=0,
    cls_token_id=1,
)
WITH_LABELS = (
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)
WITHOUT_LABELS = (
    ElectraModel,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ModernBertModel,
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
)


def build(network, **labels):
    torch.manual_seed(0)
    return network(ELECTRA if network.__name__.startswith("Electra") else MODERNBERT, **labels)


@pytest.fixture
def discriminator_folder(tmp_path):
    save_model(build(ElectraForPreTraining), tmp_path / "discriminator")
    return tmp_path / "discriminator"


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("network", WITHOUT_LABELS + WITH_LABELS)
def test_what_was_saved_loads_bit_for_bit(network, tmp_path):
    labels = {"labels": ["no", "maybe", "yes"]} if network in WITH_LABELS else {}
    model = build(network, **labels)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, network)
    assert type(loaded) is network
    assert loaded.config == model.config
    assert getattr(loaded, "labels", None) == getattr(model, "labels", None)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert saved_network(tmp_path) is network


def test_loading_leaves_the_global_generator_as_it_was(discriminator_folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_model(discriminator_folder, ElectraForPreTraining)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_ours_stands_under_one_key(tmp_path):
    save_model(build(ElectraModel), tmp_path, electrify={"steps": 7})
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["electrify"] == {"steps": 7}
    assert settings["architectures"] == ["ElectraModel"]
    assert settings["dtype"] == "float32"


def test_output_matrix_is_stored_once(tmp_path):
    save_model(build(ElectraForMaskedLM), tmp_path)
    assert "generator_lm_head.weight" not in load_file(tmp_path / "model.safetensors")


def test_half_precision_parameters_are_saved_as_float32(tmp_path):
    save_model(build(ElectraModel).bfloat16(), tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}


def test_half_precision_files_load_as_float32(discriminator_folder):
    expected = build(ElectraForPreTraining).state_dict()
    edit_tensors(discriminator_folder, lambda tensors: tensors.update({n: t.half() for n, t in tensors.items()}))
    for name, tensor in load_model(discriminator_folder, ElectraForPreTraining).state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-6)


def test_network_whose_parameters_are_not_the_published_ones_is_not_saved(tmp_path):
    model = build(ElectraModel)
    model.embeddings.word_embeddings = torch.nn.Sequential(model.embeddings.word_embeddings)
    with pytest.raises(CheckpointError, match=r"embeddings\.word_embeddings\.0\.weight"):
        save_model(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_body_opens_from_a_folder_with_a_head(discriminator_folder):
    body = load_model(discriminator_folder, ElectraModel)
    expected = build(ElectraForPreTraining).electra.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in body.state_dict().items())


def test_bare_body_gets_a_new_head_on_request(tmp_path):
    save_model(build(ElectraModel), tmp_path)
    model = load_model(tmp_path, ElectraForSequenceClassification, new_head=True, num_labels=5)
    expected = build(ElectraModel).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.electra.state_dict().items())
    assert model.classifier.out_proj.weight.shape == (5, 16)


@pytest.mark.parametrize("network", [ElectraForTokenClassification, ElectraForMaskedLM, ElectraForPreTraining])
def test_new_head_takes_the_body_and_nothing_of_the_old_head(network, discriminator_folder):
    labels = {"num_labels": 2} if network is ElectraForTokenClassification else {}
    heads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = load_model(discriminator_folder, network, new_head=True, **labels)
        heads.append({name: t for name, t in model.state_dict().items() if not name.startswith("electra.")})
    for name, first in heads[0].items():
        assert torch.isfinite(first).all()
        is_constant = name.endswith(".bias") or "LayerNorm" in name
        assert torch.equal(first, heads[1][name]) == is_constant, name
        assert first.abs().max() <= 1


def test_missing_head_is_an_error_that_says_how_to_get_a_new_one(discriminator_folder):
    with pytest.raises(CheckpointError, match=r"missing: generator_lm_head\.bias.*new_head"):
        load_model(discriminator_folder, ElectraForMaskedLM)


def test_missing_body_tensors_are_an_error_even_with_a_new_head(discriminator_folder):
    edit_tensors(discriminator_folder, lambda tensors: tensors.pop("electra.encoder.layer.1.output.dense.bias"))
    for new_head in (False, True):
        with pytest.raises(CheckpointError, match=r"missing: electra\.encoder\.layer\.1\.output\.dense\.bias"):
            load_model(discriminator_folder, ElectraForPreTraining, new_head=new_head)


@pytest.mark.parametrize("network", [ElectraModel, ElectraForPreTraining])
def test_tensor_without_a_place_is_an_error(network, discriminator_folder):
    edit_tensors(discriminator_folder, lambda tensors: tensors.update({"electra.pooler.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"no place for: (electra\.)?pooler\.weight"):
        load_model(discriminator_folder, network)


def test_tensor_of_another_shape_is_named_with_both_shapes(discriminator_folder):
    edit_config(discriminator_folder, vocab_size=60)
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight' is \[50, 8\], .* asks for \[60, 8\]"):
        load_model(discriminator_folder, ElectraForPreTraining)


def test_huge_sizes_in_the_config_are_refused_without_allocating(discriminator_folder):
    edit_config(discriminator_folder, vocab_size=1 << 24, embedding_size=4096)  # 256 GiB
    with pytest.raises(CheckpointError, match=r"is \[50, 8\], .* asks for \[16777216, 4096\]"):
        load_model(discriminator_folder, ElectraForPreTraining)


def test_fewer_layers_than_stored_are_refused(discriminator_folder):
    edit_config(discriminator_folder, num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"no place for: electra\.encoder\.layer\.1\."):
        load_model(discriminator_folder, ElectraForPreTraining)


def test_integer_weights_are_refused(discriminator_folder):
    edit_tensors(discriminator_folder, lambda tensors: tensors.update({n: t.char() for n, t in tensors.items()}))
    with pytest.raises(CheckpointError, match="type I8"):
        load_model(discriminator_folder, ElectraForPreTraining)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300])
def test_weights_that_are_not_finite_in_float32_are_refused(value, discriminator_folder):
    def spoil(tensors):
        tensors |= {name: tensor.double() for name, tensor in tensors.items()}
        tensors["electra.embeddings.LayerNorm.bias"][0] = value

    edit_tensors(discriminator_folder, spoil)
    with pytest.raises(CheckpointError, match=r"'electra.embeddings.LayerNorm.bias' holds values that are not finite"):
        load_model(discriminator_folder, ElectraForPreTraining)


def test_position_ids_of_old_files_are_left_alone(discriminator_folder):
    old = {"electra.embeddings.position_ids": torch.arange(40)[None]}
    edit_tensors(discriminator_folder, lambda tensors: tensors.update(old))
    load_model(discriminator_folder, ElectraForPreTraining)


@pytest.mark.parametrize("is_equal", [True, False])
def test_stored_copy_of_the_output_matrix_must_equal_the_embedding(is_equal, tmp_path):
    save_model(build(ElectraForMaskedLM), tmp_path)
    copy = load_file(tmp_path / "model.safetensors")["electra.embeddings.word_embeddings.weight"].clone()
    copy[3, 3] += 0 if is_equal else 1
    edit_tensors(tmp_path, lambda tensors: tensors.update({"generator_lm_head.weight": copy}))
    if is_equal:
        load_model(tmp_path, ElectraForMaskedLM)
    else:
        with pytest.raises(CheckpointError, match=r"generator_lm_head\.weight' differs from the word embedding"):
            load_model(tmp_path, ElectraForMaskedLM)


def test_other_body_is_refused(discriminator_folder):
    with pytest.raises(CheckpointError, match="of type Electra, which does not open as ModernBertModel"):
        load_model(discriminator_folder, ModernBertModel)


def test_token_classifier_with_other_labels_is_no_discriminator(tmp_path):
    save_model(build(ModernBertForTokenClassification, labels=["noun", "verb"]), tmp_path)
    with pytest.raises(CheckpointError, match="noun, verb; a discriminator's are original, replaced"):
        load_model(tmp_path, ModernBertForPreTraining)
    load_model(tmp_path, ModernBertForPreTraining, new_head=True)


@pytest.mark.parametrize(
    "settings", [{"summary_type": "last"}, {"summary_activation": "tanh"}, {"summary_use_proj": False}]
)
def test_head_for_multiple_choice_of_another_form_is_refused_where_it_is_read(settings, tmp_path):
    save_model(build(ElectraForMultipleChoice), tmp_path)
    edit_config(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=next(iter(settings))):
        load_model(tmp_path, ElectraForMultipleChoice)
    load_model(tmp_path, ElectraForMultipleChoice, new_head=True)
    load_model(tmp_path, ElectraModel)


def test_network_can_be_asked_for_by_name(discriminator_folder):
    assert type(load_model(discriminator_folder, "ElectraForPreTraining")) is ElectraForPreTraining
    with pytest.raises(ConfigError, match="Did you mean 'ElectraForPreTraining'"):
        load_model(discriminator_folder, "ElectraForPretraining")


@pytest.mark.parametrize("names", [None, [], ["BertModel"], "ElectraModel", [3]])
def test_folder_that_names_no_network_of_ours_says_so(names, discriminator_folder):
    edit_config(discriminator_folder, architectures=names)
    with pytest.raises(CheckpointError, match="architectures"):
        saved_network(discriminator_folder)


@pytest.mark.parametrize("names", [{"1": "a"}, ["a", "b"], {"0": "a", "2": "b"}])
def test_broken_labels_are_refused(names, tmp_path):
    save_model(build(ElectraForSequenceClassification, num_labels=2), tmp_path)
    edit_config(tmp_path, id2label=names)
    with pytest.raises(CheckpointError, match="id2label"):
        load_model(tmp_path, ElectraForSequenceClassification)


def test_folder_without_labels_means_two_classes(tmp_path):
    save_model(build(ElectraForSequenceClassification, num_labels=2), tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    del settings["id2label"], settings["label2id"]
    path.write_text(json.dumps(settings))
    assert load_model(tmp_path, ElectraForSequenceClassification).labels == ("LABEL_0", "LABEL_1")
