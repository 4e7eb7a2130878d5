"""Windows in long rows: the same values as with a (T, T) bias, at a cost that grows with the length."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from electrify import kernels
from electrify.models.attention import Mask, attend, attention_mask
from electrify.models.dropout import Dropout
from electrify.models.inputs import Inputs
from electrify.models.modernbert import SLIDING, ModernBertConfig, ModernBertModel
from electrify.models.near import near_blocks
from electrify.models.operations import body_operations

NO_DROPOUT = Dropout(0.0, 0)


def rows(tokens, *, kind):
    ids = torch.ones(2, tokens, dtype=torch.int64)
    if kind == "full":
        return Inputs(ids)
    places = torch.arange(tokens)
    if kind == "padded":
        return Inputs(ids, attention_mask=torch.stack([places < tokens, places < tokens // 2]))
    return Inputs(ids, document_ids=torch.stack([places // 37, places // 101]))


@pytest.mark.parametrize("kind", ["full", "padded", "documents"])
@pytest.mark.parametrize(("tokens", "window"), [(257, 5), (320, 64), (431, 70), (640, 128)])
def test_blocks_equal_a_bias_over_whole_rows(tokens, window, kind):
    inputs = rows(tokens, kind=kind)
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, tokens, 8, generator=draw).requires_grad_() for _ in range(3)]
    blocks = near_blocks(inputs, torch.float32, window=window)
    found = attend(*parts, mask=Mask(is_native=False, blocks=blocks), dropout=NO_DROPOUT, keys=None)
    bias = inputs.attention_bias(torch.float32, window=window)
    expected = attend(*parts, mask=Mask(is_native=False, bias=bias), dropout=NO_DROPOUT, keys=None)
    real = torch.ones(2, tokens, dtype=torch.bool) if inputs.attention_mask is None else inputs.attention_mask
    weights = torch.randn(found.shape, generator=draw) * real[:, None, :, None]
    torch.testing.assert_close(found * (weights != 0), expected * (weights != 0), rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad((one * weights).sum(), parts) for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "inputs",
    [rows(256, kind="full"), Inputs(torch.ones(2, 600, dtype=torch.int64), causal=True)],
    ids=["short", "causal"],
)
def test_short_and_causal_rows_are_not_cut(inputs):
    assert near_blocks(inputs, torch.float32, window=8) is None


def test_rows_are_not_cut_where_probabilities_are_dropped():
    inputs = Inputs(torch.ones(1, 600, dtype=torch.int64), dropout_keys=torch.ones(1, dtype=torch.int64))
    hidden = torch.zeros(1, 600, 16)
    assert attention_mask(inputs, hidden, num_heads=3, head_size=8, drop_prob=0.1, window=8).blocks is None
    assert attention_mask(inputs, hidden, num_heads=3, head_size=8, drop_prob=0.0, window=8).blocks is not None


def config_of_local_layers(num_layers=2):
    return ModernBertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=num_layers,
        num_attention_heads=1,
        local_attention=128,
        layer_types=(SLIDING,) * num_layers,
        pad_token_id=0,
    )


def test_counted_and_real_operations_of_local_layers_grow_with_the_length():
    config = config_of_local_layers()
    torch.manual_seed(0)
    model = ModernBertModel(config)
    counted, real = [], []
    for tokens in (2048, 8192):
        counted.append(tokens * body_operations(config, tokens))
        with FlopCounterMode(display=False) as counter, kernels.disabled():
            model(Inputs(torch.ones(1, tokens, dtype=torch.int64))).sum().backward()
        real.append(counter.get_total_flops())
    assert counted[1] == 4 * counted[0]
    assert real[1] == 4 * real[0]


SCRIPT = """
import sys, torch
from electrify import kernels
from electrify.memory import peak_bytes
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
tokens, number_format, every = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
model = ModernBertModel(ModernBertConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=4,
    num_attention_heads=2, local_attention=128, global_attn_every_n_layers=every, pad_token_id=0))
def step(tokens):
    ids = torch.randint(1, 64, (1, tokens), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=number_format == "bf16"):
        hidden = model(Inputs(ids))
    hidden.float().square().mean().backward()
    assert torch.isfinite(hidden).all()
step(512)
before = peak_bytes()
step(tokens)
print(peak_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the mark of memory is the Linux kernel's")
@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
def test_memory_at_8192_tokens_is_not_that_of_squares(number_format):
    if number_format == "bf16" and not kernels.is_enabled():
        pytest.skip("without the kernels, global layers in bfloat16 hold their scores")

    def megabytes(tokens):
        words = [sys.executable, "-c", SCRIPT, str(tokens), number_format, "3"]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=100)
        return int(done.stdout) / 1e6

    short, long = megabytes(2048), megabytes(8192)
    assert long < 8 * short  # 4 times the tokens, 4.9 to 6.1 measured; squares would be 16 times
    assert long < 260  # the scores of one head in float32 alone
