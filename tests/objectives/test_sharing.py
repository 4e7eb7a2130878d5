"""Shared embeddings are one tensor, and the generator's output follows them."""

import pytest
import torch
from support.networks import ELECTRA, MODERNBERT, build, make_inputs, run

from electrify.errors import ConfigError
from electrify.models.build import generator_config
from electrify.models.heads import build_discriminator, build_generator
from electrify.objectives.sharing import share_embeddings, share_layers


def shared_names(kind: str, config: object) -> set[str]:
    rtd = build(config, sharing=kind)
    theirs = {id(parameter) for parameter in rtd.discriminator.parameters()}
    return {name for name, parameter in rtd.generator.body.named_parameters() if id(parameter) in theirs}


def test_electra_shares_what_is_asked() -> None:
    assert shared_names("none", ELECTRA) == set()
    assert shared_names("word", ELECTRA) == {"embeddings.word_embeddings.weight"}
    assert shared_names("all", ELECTRA) == {
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "embeddings.LayerNorm.weight",
        "embeddings.LayerNorm.bias",
    }


def test_modernbert_shares_what_is_asked() -> None:
    assert shared_names("word", MODERNBERT) == {"embeddings.tok_embeddings.weight"}
    assert shared_names("all", MODERNBERT) == {"embeddings.tok_embeddings.weight", "embeddings.norm.weight"}


@pytest.mark.parametrize("config", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])
@pytest.mark.parametrize("kind", ["none", "word", "all"])
def test_the_output_matrix_is_the_word_table(kind: str, config: object) -> None:
    rtd = build(config, sharing=kind)
    hidden = torch.randn(3, rtd.generator.config.hidden_size)
    before = rtd.generator.logits(hidden)
    table = rtd.generator.body.word_embeddings.weight
    with torch.no_grad():
        table[33] += 5.0
    changed = (rtd.generator.logits(hidden) != before).any(0)
    assert changed.nonzero().flatten().tolist() == [33]
    assert (rtd.discriminator.body.word_embeddings.weight is table) == (kind != "none")


def test_both_losses_train_a_shared_table() -> None:
    for weights in ({"gen_weight": 0.0}, {"disc_weight": 0.0}):
        rtd = build(sharing="word", **weights)
        run(rtd, make_inputs())[1].loss.backward()
        assert rtd.discriminator.body.word_embeddings.weight.grad.any()


def test_tables_of_unlike_width_are_refused_by_name() -> None:
    generator = build_generator(generator_config(MODERNBERT, hidden_ratio=0.5, layer_ratio=1.0))
    with pytest.raises(ConfigError, match=r"the generator has 8 and the discriminator 16.*generator_hidden_ratio"):
        share_embeddings(generator, build_discriminator(MODERNBERT), "word")


@pytest.mark.parametrize("config", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])
def test_shared_layers_are_trained_by_both_losses(config: object) -> None:
    for weights in ({"gen_weight": 0.0}, {"disc_weight": 0.0}):
        rtd = build(config, sharing="all", hidden_ratio=1.0, **weights)
        share_layers(rtd.generator, rtd.discriminator)
        run(rtd, make_inputs())[1].loss.backward()
        for mine, theirs in zip(rtd.generator.body.blocks, rtd.discriminator.body.blocks, strict=True):
            assert mine is theirs
            assert all(parameter.grad is not None and parameter.grad.any() for parameter in mine.parameters())


def test_layers_of_unlike_width_are_refused_by_name() -> None:
    rtd = build(hidden_ratio=0.5)
    with pytest.raises(ConfigError, match=r"the generator has 8 and the discriminator 16.*share_layers = false"):
        share_layers(rtd.generator, rtd.discriminator)
