"""Counted operations against sums by hand and against the products that torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig
from electrify.models.heads import BodyConfig, build_discriminator
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.models.operations import (
    encoder_operations,
    step_operations,
    t5_decoder_operations,
    t5_encoder_operations,
)
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5ForConditionalGeneration

SMALL = ElectraConfig(
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, vocab_size=30_522, embedding_size=128, hidden_size=256
)


def test_electra_small_needs_70_2_million_operations_a_token() -> None:
    generator = generator_config(SMALL, hidden_ratio=0.25, layer_ratio=1.0)
    operations = step_operations(generator, SMALL, num_attended=128, masked_share=19 / 128)
    assert operations == pytest.approx(70.2e6, rel=1e-3)


def test_a_discriminator_of_one_layer_by_hand() -> None:
    config = ElectraConfig(
        hidden_size=8, embedding_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    projections, feed_forward, attention = 4 * 2 * 8 * 8, 2 * 2 * 8 * 16, 2 * 2 * 10 * 8
    entrance, head = 2 * 4 * 8, 2 * 8 * 8 + 2 * 8
    assert encoder_operations(config, num_attended=10) == projections + feed_forward + attention + entrance + head


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ModernBertConfig(
            vocab_size=500, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96,
            pad_token_id=0, local_attention=200,
        ),
    ],
)  # fmt: skip
def test_torch_counts_the_same_in_a_forward_pass(config: BodyConfig) -> None:
    network, ids = build_discriminator(config), torch.randint(5, 400, (2, 32))
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # it counts products
        network(Inputs(ids))
    assert encoder_operations(config, num_attended=32) * ids.numel() == pytest.approx(
        counter.get_total_flops(), rel=0.01
    )


@pytest.mark.parametrize("form", ["relu", "gated-gelu"])
def test_torch_counts_the_same_in_an_encoder_decoder(form: str) -> None:
    config = T5Config(
        vocab_size=500, d_model=64, d_kv=24, d_ff=96, num_layers=3, num_decoder_layers=2, num_heads=2,
        feed_forward_proj=form,
    )  # fmt: skip
    network = T5ForConditionalGeneration(config)
    read, written = torch.randint(5, 400, (2, 32)), torch.randint(5, 400, (2, 12))
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(Inputs(read), written)
    reading = 32 * t5_encoder_operations(config, 32)
    writing = 12 * t5_decoder_operations(config, num_written=12, num_read=32)
    above_the_diagonal = 2 * 12 * 4 * 5.5 * 48  # torch multiplies what the mask then hides
    assert 2 * (reading + writing + above_the_diagonal) == pytest.approx(counter.get_total_flops(), rel=1e-3)
