import json
from dataclasses import replace
from pathlib import Path

import pytest
import transformers

from electrify.errors import CheckpointError
from electrify.models.config_json import config_from_dict, config_to_dict, read_config
from electrify.models.electra import ElectraConfig
from electrify.models.modernbert import ModernBertConfig

PATH = Path("config.json")
ELECTRA = {"model_type": "electra", "vocab_size": 100}
MODERNBERT = {"model_type": "modernbert", "vocab_size": 100, "pad_token_id": 0, "num_hidden_layers": 6}
CHANGED_MODERNBERT = ModernBertConfig(
    vocab_size=100,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
    num_hidden_layers=5,
    global_attn_every_n_layers=2,
    local_attention=16,
    global_rope_theta=500.0,
    local_rope_theta=20.0,
    mlp_dropout=0.1,
    classifier_pooling="mean",
)


@pytest.mark.parametrize(
    "config",
    [
        ElectraConfig(),
        ElectraConfig(hidden_size=128, num_attention_heads=8, classifier_dropout=0.3, pad_token_id=None),
        CHANGED_MODERNBERT,
        ModernBertConfig(num_hidden_layers=5, layer_types=("sliding_attention",) * 5),
    ],
)
def test_settings_survive_writing_and_reading(config):
    settings = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(settings, path=PATH) == config


def test_published_defaults_are_ours():
    assert config_from_dict(transformers.ElectraConfig().to_dict(), path=PATH) == ElectraConfig()
    theirs = config_from_dict(transformers.ModernBertConfig().to_dict(), path=PATH)
    ids = {"bos_token_id": 50281, "eos_token_id": 50282, "cls_token_id": 50281, "sep_token_id": 50282}
    assert theirs == replace(ModernBertConfig(), **ids)


def test_transformers_reads_what_is_written():
    theirs = transformers.ModernBertConfig(**config_to_dict(CHANGED_MODERNBERT))
    assert theirs.layer_types == list(CHANGED_MODERNBERT.attention_types)
    assert theirs.rope_parameters["full_attention"]["rope_theta"] == 500.0
    assert theirs.rope_parameters["sliding_attention"]["rope_theta"] == 20.0
    assert config_from_dict(theirs.to_dict(), path=PATH) == CHANGED_MODERNBERT


def test_rotary_bases_and_pattern_are_read_as_written_before_transformers_5():
    old = {**MODERNBERT, "global_rope_theta": 300.0, "local_rope_theta": 30.0, "global_attn_every_n_layers": 2}
    config = config_from_dict(old, path=PATH)
    assert (config.global_rope_theta, config.local_rope_theta) == (300.0, 30.0)
    assert config.attention_types == ("full_attention", "sliding_attention") * 3


def test_no_local_base_meant_the_global_one_before_transformers_5():
    config = config_from_dict({**MODERNBERT, "global_rope_theta": 300.0, "local_rope_theta": None}, path=PATH)
    assert config.local_rope_theta == 300.0


def test_new_spelling_of_rotary_bases_wins():
    new = {"full_attention": {"rope_type": "default", "rope_theta": 7.0}}
    config = config_from_dict({**MODERNBERT, "rope_parameters": new, "global_rope_theta": 300.0}, path=PATH)
    assert (config.global_rope_theta, config.local_rope_theta) == (7.0, 10_000.0)


@pytest.mark.parametrize("model_type", ["modernbert", "modernbert-decoder"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [({"sliding_window": 4}, 8), ({"local_attention": 9, "sliding_window": 4}, 9), ({"local_attention": 9}, 9)],
)
def test_window_is_the_one_that_transformers_obeys(model_type, given, expected):
    settings = {**MODERNBERT, "model_type": model_type, **given}
    config = config_from_dict(settings, path=PATH)
    assert config.local_attention == expected
    theirs = transformers.AutoConfig.for_model(**settings)
    assert config.local_attention // 2 == theirs.sliding_window


def test_the_newer_name_of_a_rotary_kind_wins():
    both = {"full_attention": {"rope_type": "default", "type": "linear", "rope_theta": 7.0}}
    assert config_from_dict({**MODERNBERT, "rope_parameters": both}, path=PATH).global_rope_theta == 7.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "electro"}, "model_type is 'electro'.*Did you mean 'electra'"),
        ({}, "model_type is 'None'.*Known: electra, modernbert"),
        ({**ELECTRA, "hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'; only 'gelu'"),
        ({**ELECTRA, "position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({**ELECTRA, "is_decoder": True}, "is_decoder is True"),
        ({**ELECTRA, "tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({**ELECTRA, "hidden_size": "256"}, "hidden_size must be a whole number"),
        ({**ELECTRA, "hidden_size": None}, "hidden_size must be a whole number"),
        ({**ELECTRA, "layer_norm_eps": float("nan")}, "layer_norm_eps must be a finite number"),
        ({**MODERNBERT, "hidden_activation": "silu"}, "hidden_activation is 'silu'"),
        ({**MODERNBERT, "attention_bias": True}, "attention_bias is True"),
        ({**MODERNBERT, "mlp_bias": True}, "mlp_bias is True"),
        ({**MODERNBERT, "norm_bias": True}, "norm_bias is True"),
        ({**MODERNBERT, "decoder_bias": False}, "decoder_bias is False"),
        ({**MODERNBERT, "rope_scaling": {"factor": 2}}, "rope_scaling is"),
        ({**MODERNBERT, "rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "only 'default'"),
        ({**MODERNBERT, "rope_parameters": {"full_attention": {"type": "linear", "factor": 4.0}}}, "only 'default'"),
        ({**MODERNBERT, "rope_parameters": 3}, "rope_parameters must be an object"),
        (
            {**MODERNBERT, "rope_parameters": {"rope_type": "linear", "factor": 4.0}},
            "rope_parameters must be an object",
        ),
        ({**MODERNBERT, "sliding_window": 0}, "sliding_window must be a whole number"),
        ({**MODERNBERT, "sliding_window": None}, "sliding_window must be a whole number"),
        ({**MODERNBERT, "layer_types": "full_attention"}, "layer_types must be a list"),
        ({**MODERNBERT, "layer_types": ["full_attention"]}, "layer_types has 1 entries for 6"),
    ],
)
def test_what_is_not_built_here_is_an_error_and_not_ignored(settings, message):
    with pytest.raises(CheckpointError, match=message):
        config_from_dict(settings, path=PATH)


@pytest.mark.parametrize("content", [None, "{", "[]", ""])
def test_missing_or_broken_file_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)
