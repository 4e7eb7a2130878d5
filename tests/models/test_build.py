import dataclasses

import pytest

from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig
from electrify.models.modernbert import ModernBertConfig

BASE = ElectraConfig(embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072)


@pytest.mark.parametrize(
    ("config", "ratio", "hidden", "heads", "intermediate"),
    [(ElectraConfig(), 1 / 4, 64, 1, 256), (BASE, 1 / 3, 256, 4, 1024), (BASE, 1.0, 768, 12, 3072)],
    ids=["small", "base", "as wide"],
)
def test_sizes_are_those_of_the_paper(config, ratio, hidden, heads, intermediate):
    generator = generator_config(config, hidden_ratio=ratio, layer_ratio=1.0)
    assert (generator.hidden_size, generator.num_attention_heads) == (hidden, heads)
    assert generator.intermediate_size == intermediate
    assert generator.embedding_size == config.embedding_size
    assert generator.num_hidden_layers == config.num_hidden_layers


@pytest.mark.parametrize(("ratio", "layers"), [(1 / 3, 4), (0.5, 6), (0.51, 7), (0.01, 1)])
def test_number_of_layers_is_rounded_up(ratio, layers):
    assert generator_config(BASE, hidden_ratio=1.0, layer_ratio=ratio).num_hidden_layers == layers


def test_what_is_not_a_size_is_kept():
    discriminator = ElectraConfig(vocab_size=100, hidden_dropout_prob=0.2, layer_norm_eps=1e-6, pad_token_id=3)
    generator = generator_config(discriminator, hidden_ratio=0.5, layer_ratio=0.5)
    sizes = {"hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers"}
    changed = {
        field.name
        for field in dataclasses.fields(generator)
        if getattr(generator, field.name) != getattr(discriminator, field.name)
    }
    assert changed == sizes


def test_modernbert_keeps_its_head_size_and_its_pattern_of_layers():
    kinds = ("sliding_attention",) * 22
    generator = generator_config(ModernBertConfig(layer_types=kinds), hidden_ratio=1 / 3, layer_ratio=0.5)
    assert (generator.hidden_size, generator.num_attention_heads, generator.intermediate_size) == (256, 4, 384)
    assert generator.attention_types == kinds[:11]


@pytest.mark.parametrize("ratio", [0.0, 1.5, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["hidden_ratio", "layer_ratio"])
def test_ratio_out_of_range_is_named(name, ratio):
    with pytest.raises(ConfigError, match=f"{name} .* got {ratio}"):
        generator_config(BASE, **{"hidden_ratio": 1.0, "layer_ratio": 1.0, name: ratio})
