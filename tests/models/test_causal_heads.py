"""Networks that read from left to right equal Transformers' on the same weights, and nothing leaks from the right."""

import json
from dataclasses import replace

import pytest
import torch
import transformers

from electrify import kernels
from electrify.errors import CheckpointError
from electrify.models.causal_heads import as_decoder
from electrify.models.checkpoint import load_model, save_model, saved_network
from electrify.models.decoder_names import decoder_tensors
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.noise import row_keys

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "pad_token_id": 0}
NETWORKS = {
    "ElectraForCausalLM": lambda: transformers.ElectraConfig(
        **SIZES, embedding_size=8, num_hidden_layers=2, max_position_embeddings=40, is_decoder=True
    ),
    "ModernBertDecoderForCausalLM": lambda: transformers.ModernBertDecoderConfig(
        **SIZES, num_hidden_layers=4, local_attention=8, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}
BOTH = pytest.mark.parametrize("name", NETWORKS)


def reference(name):
    torch.manual_seed(1)
    network = getattr(transformers, name)(NETWORKS[name]()).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def opened_here(name, folder):
    reference(name).save_pretrained(folder)
    return load_model(folder, name)


def padded_inputs():
    ids = torch.randint(1, 50, (3, 30), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(30) < torch.tensor([[30], [20], [5]])
    return Inputs(ids.where(mask, 0), mask)


@BOTH
def test_a_folder_of_theirs_gives_their_logits_and_gradients(name, tmp_path):
    theirs, ours = reference(name), opened_here(name, tmp_path)
    inputs = padded_inputs()
    mask = inputs.attention_mask
    mine = ours(inputs)[mask]
    other = theirs(input_ids=inputs.input_ids, attention_mask=mask.long()).logits[mask]
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    weights = torch.randn(mine.shape, generator=torch.Generator().manual_seed(3))
    (mine * weights).sum().backward()
    (other * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}
    if name.startswith("Modern"):
        gradients = decoder_tensors(gradients)
    expected = {name: one.grad for name, one in theirs.named_parameters() if one.grad is not None}
    assert gradients.keys() == expected.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(gradients[parameter], gradient, rtol=1e-4, atol=1e-5, msg=parameter)


def test_a_decoders_own_window_is_obeyed_as_theirs_is(tmp_path):
    theirs = reference("ModernBertDecoderForCausalLM")
    theirs.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"sliding_window": 2}))
    ids = padded_inputs().input_ids[:1]
    mine = load_model(tmp_path, "ModernBertDecoderForCausalLM")(Inputs(ids))
    narrower = type(theirs).from_pretrained(tmp_path).eval()(input_ids=ids).logits
    torch.testing.assert_close(mine, narrower, rtol=1e-5, atol=1e-5)
    assert (mine - theirs(input_ids=ids).logits).abs().max() > 1e-2


@BOTH
def test_a_folder_of_ours_opens_there_with_nothing_missing_or_unexpected(name, tmp_path):
    ours = opened_here(name, tmp_path / "theirs")
    save_model(ours, tmp_path / "ours")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    assert type(theirs).__name__ == name
    inputs = padded_inputs()
    mask = inputs.attention_mask
    other = theirs.eval()(input_ids=inputs.input_ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(ours(inputs)[mask], other[mask], rtol=1e-5, atol=1e-5)
    assert saved_network(tmp_path / "ours").__name__ == name


@BOTH
def test_nothing_leaks_from_the_right(name, tmp_path):
    network = opened_here(name, tmp_path)
    ids = padded_inputs().input_ids[:1]
    keys = row_keys(0, 0, torch.arange(1))
    for place in (1, 15, 29):
        changed = ids.clone()
        changed[0, place] = 1 + ids[0, place] % 49
        before, after = (network(Inputs(one, dropout_keys=keys))[0] for one in (ids, changed))
        assert torch.equal(before[:place], after[:place])
        assert not torch.allclose(before[place], after[place])


@BOTH
def test_their_cached_generation_equals_ours_step_by_step(name, tmp_path):
    ours, theirs = opened_here(name, tmp_path), reference(name)
    ids = padded_inputs().input_ids[:1, :5]
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=99
    )
    for _ in range(12):
        ids = torch.cat([ids, ours(Inputs(ids))[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(ids, expected)


@BOTH
def test_rows_of_a_batch_have_each_their_own_direction(name, tmp_path):
    decoder = opened_here(name, tmp_path)
    encoder_name = name.replace("Decoder", "").replace("CausalLM", "MaskedLM")
    encoder = saved_network_type(encoder_name)(decoder.config)
    encoder.load_state_dict(decoder.state_dict())
    ids = padded_inputs().input_ids[:1].expand(2, -1)
    both = encoder(Inputs(ids, causal=torch.tensor([True, False])))
    torch.testing.assert_close(both[:1], decoder(Inputs(ids[:1])), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both[1:], encoder(Inputs(ids[1:])), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)
    same = as_decoder(encoder)
    assert {id(one) for one in same.parameters()} == {id(one) for one in encoder.parameters()}
    torch.testing.assert_close(same(Inputs(ids[:1])), decoder(Inputs(ids[:1])))


def saved_network_type(name):
    from electrify.models import electra_heads, modernbert_heads

    return getattr(electra_heads if name.startswith("Electra") else modernbert_heads, name)


@BOTH
def test_a_body_opens_from_a_decoder_and_reads_both_ways(name, tmp_path):
    decoder = opened_here(name, tmp_path)
    kind = name.removesuffix("ForCausalLM").removesuffix("Decoder")
    body = load_model(tmp_path, f"{kind}Model")
    for parameter, tensor in decoder.body.state_dict().items():
        assert torch.equal(body.state_dict()[parameter], tensor)
    classifier = load_model(tmp_path, f"{kind}ForSequenceClassification", new_head=True, num_labels=3)
    assert torch.equal(classifier.body.word_embeddings.weight, decoder.body.word_embeddings.weight)


@BOTH
def test_a_decoder_is_not_opened_as_an_encoder_or_the_other_way_round(name, tmp_path):
    decoder = opened_here(name, tmp_path / "decoder")
    masked = name.replace("Decoder", "").replace("CausalLM", "MaskedLM")
    with pytest.raises(CheckpointError, match="reads from left to right"):
        load_model(tmp_path / "decoder", masked)
    encoder = saved_network_type(masked)(decoder.config)
    save_model(encoder, tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="reads from left to right"):
        load_model(tmp_path / "encoder", name)


def test_other_electra_decoders_are_refused_as_before(tmp_path):
    config = NETWORKS["ElectraForCausalLM"]()
    transformers.ElectraForMaskedLM(config).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["is_decoder"] is True
    with pytest.raises(CheckpointError, match="is_decoder is True"):
        load_model(tmp_path, "ElectraForMaskedLM")


def test_narrowest_window_of_a_causal_row_sees_the_token_itself():
    bias = Inputs(torch.ones(1, 3, dtype=torch.int64), causal=True).attention_bias(torch.float32, window=0)
    assert (bias[0, 0] == 0).tolist() == torch.eye(3, dtype=torch.bool).tolist()


def test_direction_of_rows_must_fit_the_rows():
    with pytest.raises(ValueError, match="causal"):
        Inputs(torch.ones(2, 3, dtype=torch.int64), causal=torch.tensor([True]))


@pytest.mark.skipif(not kernels.is_enabled(), reason="no compiled kernels")
@pytest.mark.parametrize("body", ["electra", "modernbert"])
def test_compiled_attention_of_mixed_rows_is_near_the_plain_one_and_leaks_nothing(body):
    sizes = {"vocab_size": 50, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    if body == "electra":
        network = ElectraModel(ElectraConfig(**sizes, embedding_size=64, num_hidden_layers=2))
    else:
        network = ModernBertModel(ModernBertConfig(**sizes, num_hidden_layers=4, local_attention=8, pad_token_id=0))
    inputs = replace(padded_inputs(), causal=torch.tensor([True, False, True]))
    mask = inputs.attention_mask
    with torch.autocast("cpu", torch.bfloat16):
        compiled = network(inputs)[mask].float()
        changed = inputs.input_ids.clone()
        changed[0, 20] = 1 + changed[0, 20] % 49
        after = network(replace(inputs, input_ids=changed))[0].float()
        before = network(inputs)[0].float()
    exact = network(inputs)[mask]
    assert (compiled - exact).norm() / exact.norm() < 0.02
    assert torch.equal(before[:20], after[:20])
    assert not torch.equal(before[20], after[20])
