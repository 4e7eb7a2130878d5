"""Parts of bodies that no published class has: what they compute, and that nobody opens a folder without them."""

from dataclasses import replace

import pytest
import torch
import transformers

from electrify import kernels
from electrify.errors import CheckpointError
from electrify.models.causal_heads import ModernBertDecoderForCausalLM
from electrify.models.checkpoint import load_model, read_config, save_model
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import ModernBertForPreTraining
from electrify.models.operations import body_operations

ELECTRA = ElectraConfig(
    vocab_size=50,
    embedding_size=8,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
)
MODERNBERT = ModernBertConfig(
    vocab_size=50,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    local_attention=8,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)
GATED = [replace(ELECTRA, attention_gate=True), replace(MODERNBERT, attention_gate=True)]
OWN = [*GATED, replace(ELECTRA, relative_bias=True)]


def body(config):
    torch.manual_seed(0)
    network = ElectraModel(config) if isinstance(config, ElectraConfig) else ModernBertModel(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def inputs():
    ids = torch.randint(1, 50, (2, 30), generator=torch.Generator().manual_seed(1))
    return Inputs(ids, attention_mask=torch.arange(30) < torch.tensor([[30], [17]]))


def gates(network):
    return [parameter for name, parameter in network.named_parameters() if ".gate." in name]


@pytest.mark.parametrize("config", GATED, ids=["electra", "modernbert"])
def test_gates_at_one_half_halve_what_attention_writes(config):
    """With gates of zero the sigmoid is 1/2; a plain body whose values are halved computes the same."""
    gated = body(config)
    for gate in gates(gated):
        torch.nn.init.zeros_(gate)
    plain = body(replace(config, attention_gate=False))
    plain.load_state_dict({name: one for name, one in gated.state_dict().items() if ".gate." not in name})
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "Wqkv" in name:
                parameter[-64:] /= 2
            if ".self.value." in name:
                parameter /= 2
    torch.testing.assert_close(gated(inputs()), plain(inputs()), rtol=1e-5, atol=1e-5)


def test_a_shut_head_says_nothing():
    network = body(GATED[0])
    with torch.no_grad():
        for layer in network.blocks:
            layer.attention.self.gate.weight.zero_()
            layer.attention.self.gate.bias.copy_(torch.tensor([-1e4, 0.0]))
        before = network(inputs())
        for layer in network.blocks:
            layer.attention.self.value.weight[:32] += 1  # of the first head
        torch.testing.assert_close(network(inputs()), before)
        for layer in network.blocks:
            layer.attention.self.value.weight[32:] += 1
        assert not torch.allclose(network(inputs()), before)


@pytest.mark.parametrize("config", OWN, ids=["gated-electra", "gated-modernbert", "biased-electra"])
def test_kernels_and_torch_agree_and_everything_has_a_gradient(config):
    network = body(config)
    with torch.autocast("cpu", torch.bfloat16):
        fast = network(inputs())
        with kernels.disabled():
            slow = network(inputs())
    real = inputs().attention_mask
    torch.testing.assert_close(fast[real].float(), slow[real].float(), rtol=0.05, atol=0.05)
    fast[real].float().square().sum().backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not [name for name in unused if "token_type" not in name]


def test_relative_bias_is_added_to_the_scores_and_padding_stays_unseen():
    network = body(OWN[2])
    before = network(inputs())
    changed = inputs()
    changed.input_ids[1, 17:] = 7
    real = changed.attention_mask
    torch.testing.assert_close(network(changed)[real], before[real])
    with torch.no_grad():
        network.encoder.relative_bias.relative_attention_bias.weight.fill_(3.0)  # the same for all keys: no difference
    same = network(inputs())
    plain = body(ELECTRA)
    plain.load_state_dict({name: one for name, one in network.state_dict().items() if "relative" not in name})
    torch.testing.assert_close(same[real], plain(inputs())[real], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(same[real], before[real])


@pytest.mark.parametrize("config", OWN, ids=["gated-electra", "gated-modernbert", "biased-electra"])
def test_folder_opens_here_and_nowhere_without_the_part(config, tmp_path):
    head = ElectraForPreTraining if isinstance(config, ElectraConfig) else ModernBertForPreTraining
    network = head(config)
    save_model(network, tmp_path)
    assert read_config(tmp_path) == config
    again = load_model(tmp_path, head)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in network.state_dict().items())
    with pytest.raises(ValueError, match="electrify-"):
        transformers.AutoModel.from_pretrained(tmp_path)


def test_a_gated_decoder_opens_again(tmp_path):
    network = ModernBertDecoderForCausalLM(GATED[1])
    save_model(network, tmp_path)
    again = load_model(tmp_path, ModernBertDecoderForCausalLM)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in network.state_dict().items())


@pytest.mark.parametrize("kind", ["electra", "modernbert"])
def test_a_part_is_there_or_not(kind, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"model_type": "electrify-{kind}", "attention_gate": "yes"}}')
    with pytest.raises(CheckpointError, match="attention_gate must be true or false, got 'yes'"):
        read_config(tmp_path)


def test_gates_are_counted():
    for plain, gated in ((ELECTRA, GATED[0]), (MODERNBERT, GATED[1])):
        assert body_operations(gated, 30) - body_operations(plain, 30) == 2 * 2 * 64 * 2
