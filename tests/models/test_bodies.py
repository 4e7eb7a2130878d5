import math
from dataclasses import replace

import pytest
import torch

from electrify.errors import ConfigError
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.noise import row_keys

ELECTRA = ElectraConfig(
    vocab_size=50,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
)
MODERNBERT = ModernBertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=24,
    local_attention=8,
    pad_token_id=0,
)


def body(config, *, noise=0.1):
    torch.manual_seed(0)
    network = ElectraModel(config) if isinstance(config, ElectraConfig) else ModernBertModel(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return network


def random_ids(num_rows, num_tokens):
    return torch.randint(1, 50, (num_rows, num_tokens), generator=torch.Generator().manual_seed(1))


BOTH = pytest.mark.parametrize("config", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


@BOTH
def test_packed_documents_equal_documents_run_alone(config):
    network, ids = body(config), random_ids(1, 30)
    if config is ELECTRA:  # positions run on through the row; without them a document's place makes no difference
        torch.nn.init.zeros_(network.embeddings.position_embeddings.weight)
    documents = torch.tensor([[0] * 11 + [1] * 19], dtype=torch.int32)
    together = network(Inputs(ids, document_ids=documents))
    alone = torch.cat([network(Inputs(ids[:, :11])), network(Inputs(ids[:, 11:]))], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@BOTH
def test_documents_change_what_is_seen(config):
    network, ids = body(config), random_ids(1, 30)
    documents = torch.tensor([[0] * 11 + [1] * 19], dtype=torch.int32)
    assert not torch.allclose(network(Inputs(ids)), network(Inputs(ids, document_ids=documents)), atol=1e-2)


@BOTH
def test_padding_does_not_reach_real_tokens(config):
    network, ids = body(config), random_ids(1, 30)
    mask = torch.arange(30)[None] < 12
    padded = network(Inputs(ids, attention_mask=mask))[:, :12]
    torch.testing.assert_close(padded, network(Inputs(ids[:, :12])), rtol=1e-5, atol=1e-5)


@BOTH
def test_keys_decide_over_dropout_and_the_mode_does_not(config):
    rates = {name: 0.3 for name in vars(config) if "dropout" in name}
    network, ids = body(replace(config, **rates)), random_ids(2, 10)
    keys = row_keys(0, 0, torch.arange(2))
    plain = network.train()(Inputs(ids))
    dropped = network.eval()(Inputs(ids, dropout_keys=keys))
    assert torch.equal(plain, network.eval()(Inputs(ids)))
    assert not torch.allclose(plain, dropped)
    torch.testing.assert_close(dropped[1:], network(Inputs(ids[1:], dropout_keys=keys[1:])))


@BOTH
def test_without_dropout_rates_keys_change_nothing(config):
    rates = {name: 0.0 for name in vars(config) if "dropout" in name}
    network, ids = body(replace(config, **rates)), random_ids(2, 10)
    keys = row_keys(0, 0, torch.arange(2))
    assert torch.equal(network(Inputs(ids)), network(Inputs(ids, dropout_keys=keys)))


@BOTH
def test_first_values_are_cut_at_two_deviations(config):
    torch.manual_seed(0)
    wide = replace(config, vocab_size=2000, initializer_range=0.5)
    network = ElectraModel(wide) if config is ELECTRA else ModernBertModel(wide)
    table = network.word_embeddings.weight[1:]
    assert table.abs().max() <= 1.0
    # A normal distribution cut at 2 deviations has 0.880 of its deviation (Johnson, Kotz, Balakrishnan 1994, 10.1).
    assert table.std().item() == pytest.approx(0.880 * 0.5, rel=0.02)


def test_electra_starts_with_biases_padding_and_nothing_else_at_zero():
    network = ElectraModel(ELECTRA)
    zero = {name for name, parameter in network.named_parameters() if not parameter.any()}
    assert zero == {name for name, _ in network.named_parameters() if name.endswith("bias")}
    assert not network.word_embeddings.weight[ELECTRA.pad_token_id].any()


def test_modernbert_matrices_into_the_residual_stream_start_smaller():
    torch.manual_seed(0)
    layer = ModernBertModel(replace(MODERNBERT, hidden_size=128, intermediate_size=128)).layers[1]
    for narrow, wide in ((layer.attn.Wo, layer.attn.Wqkv), (layer.mlp.Wo, layer.mlp.Wi)):
        assert (narrow.weight.std() / wide.weight.std()).item() == pytest.approx(1 / math.sqrt(2 * 4), rel=0.05)


def test_local_layers_look_half_the_window_to_each_side():
    network = body(replace(MODERNBERT, layer_types=("sliding_attention",), num_hidden_layers=1))
    ids = random_ids(1, 20)
    changed = ids.clone()
    changed[0, 10] = 1 + ids[0, 10] % 49
    differs = (network(Inputs(ids)) - network(Inputs(changed))).abs().amax(-1)[0] > 1e-6
    assert differs.nonzero().flatten().tolist() == list(range(6, 15))


def test_full_layers_look_everywhere():
    network = body(replace(MODERNBERT, layer_types=("full_attention",), num_hidden_layers=1))
    ids = random_ids(1, 20)
    changed = ids.clone()
    changed[0, 10] = 1 + ids[0, 10] % 49
    assert ((network(Inputs(ids)) - network(Inputs(changed))).abs().amax(-1) > 1e-6).all()


def test_row_longer_than_the_positions_is_refused():
    with pytest.raises(ValueError, match="41 tokens, but max_position_embeddings is 40"):
        body(ELECTRA)(Inputs(random_ids(1, 41)))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # read, and caught, inside the compiler
@pytest.mark.parametrize(("config", "num_graphs"), [(ELECTRA, 1), (MODERNBERT, 3)], ids=["electra", "modernbert"])
def test_one_compiled_layer_serves_all_of_its_kind(config, num_graphs):
    graphs = []

    def keep_graph(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    config = replace(config, num_hidden_layers=7, **{name: 0.1 for name in vars(config) if "dropout" in name})
    network, ids = body(config), random_ids(2, 20)
    inputs = Inputs(ids, dropout_keys=row_keys(0, 0, torch.arange(2)))
    expected = network(inputs)
    torch.compiler.reset()
    for layer in network.blocks:
        layer.compile(backend=keep_graph, fullgraph=True, dynamic=False)
    torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)
    # ModernBERT: the first layer (no norm), layers that look everywhere, layers with a window.
    assert len(graphs) == num_graphs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 15}, "hidden_size 15 is not a multiple of num_attention_heads 2"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers must be a whole number"),
        ({"vocab_size": 50.0}, "vocab_size must be a whole number"),
        ({"vocab_size": True}, "vocab_size must be a whole number"),
        ({"initializer_range": math.nan}, "initializer_range must be a finite number"),
        ({"pad_token_id": 50}, "pad_token_id must be an id below vocab_size 50"),
        ({"vocab_size": 1 << 24, "hidden_size": 1 << 20, "embedding_size": 1 << 20}, "over the limit"),
    ],
)
@BOTH
def test_config_names_what_is_out_of_range(config, change, message):
    change = {name: value for name, value in change.items() if name in vars(config)}
    with pytest.raises(ConfigError, match=message):
        replace(config, **change)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (ELECTRA, {"hidden_dropout_prob": 1.0}, "hidden_dropout_prob must be a number in"),
        (ELECTRA, {"classifier_dropout": -0.1}, "classifier_dropout must be a number in"),
        (ELECTRA, {"layer_norm_eps": math.inf}, "layer_norm_eps must be a finite number"),
        (ELECTRA, {"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        (MODERNBERT, {"hidden_activation": "silu"}, "hidden_activation must be 'gelu', got 'silu'"),
        (MODERNBERT, {"hidden_size": 18}, "must be even for rotary positions, got 9"),
        (MODERNBERT, {"classifier_pooling": "max"}, "classifier_pooling must be 'cls' or 'mean', got 'max'"),
        (MODERNBERT, {"layer_types": ("full_attention",)}, "layer_types has 1 entries for 4"),
        (MODERNBERT, {"layer_types": ("local",) * 4}, "layer_types must be .* got 'local'"),
        (MODERNBERT, {"global_rope_theta": 0.0}, "global_rope_theta must be a finite number above 0"),
    ],
)
def test_config_of_one_body_names_what_is_out_of_range(config, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(config, **change)
