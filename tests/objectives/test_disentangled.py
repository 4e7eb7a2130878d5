"""GDES: the discriminator trains its difference as it would train a plain table, and never the generator's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.networks import ELECTRA, MODERNBERT, build, make_inputs, run

from electrify.models.checkpoint import load_model, save_model
from electrify.objectives.disentangled import DisentangledEmbedding

CONFIGS = pytest.mark.parametrize("config", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])


def step(config: Any, sharing: str, **objective: Any) -> Any:
    rtd = build(config, sharing=sharing, **objective)
    if sharing == "none":  # start from equal tables, which is what "gdes" does
        with torch.no_grad():
            rtd.discriminator.body.word_embeddings.weight.copy_(rtd.generator.body.word_embeddings.weight)
    run(rtd.train(), make_inputs(num_padding=2))[1].loss.backward()
    return rtd


@CONFIGS
def test_no_gradient_of_the_discriminator_reaches_the_generators_table(config: Any) -> None:
    rtd = step(config, "gdes", gen_weight=0.0)
    assert not rtd.generator.body.word_embeddings.weight.grad.any()
    assert rtd.discriminator.body.word_embeddings.delta.grad.any()
    both = step(config, "word", gen_weight=0.0)
    assert both.generator.body.word_embeddings.weight.grad.any()


@CONFIGS
def test_gradients_are_those_of_two_plain_tables(config: Any) -> None:
    mine, plain = step(config, "gdes"), step(config, "none")
    torch.testing.assert_close(
        mine.discriminator.body.word_embeddings.delta.grad, plain.discriminator.body.word_embeddings.weight.grad
    )
    torch.testing.assert_close(
        mine.generator.body.word_embeddings.weight.grad, plain.generator.body.word_embeddings.weight.grad
    )


@CONFIGS
def test_table_follows_the_generators_and_the_difference_starts_at_zero(config: Any) -> None:
    rtd = build(config, sharing="gdes")
    mine, theirs = rtd.discriminator.body.word_embeddings, rtd.generator.body.word_embeddings
    assert isinstance(mine, DisentangledEmbedding)
    assert not mine.delta.any()
    with torch.no_grad():
        theirs.weight[7] += 1.0
        mine.delta[8] = 2.0
    torch.testing.assert_close(mine(torch.tensor([7, 8])), theirs.weight[7:9] + torch.tensor([[0.0], [2.0]]))
    tables = [name for name, one in rtd.named_parameters() if one.shape == mine.delta.shape]
    assert sorted(name.rpartition(".")[2] for name in tables) == ["delta", "weight"]


@CONFIGS
def test_published_discriminator_has_a_plain_table_that_gives_the_same_scores(config: Any, tmp_path: Path) -> None:
    rtd = build(config, sharing="gdes").eval()
    with torch.no_grad():
        rtd.discriminator.body.word_embeddings.delta.normal_()
    save_model(rtd.discriminator, tmp_path / "model", electrify={})
    loaded = load_model(tmp_path / "model", type(rtd.discriminator)).eval()
    assert isinstance(loaded.body.word_embeddings, torch.nn.Embedding)
    inputs = make_inputs()
    torch.testing.assert_close(loaded(inputs), rtd.discriminator(inputs))
