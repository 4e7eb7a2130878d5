"""A step through the compiled kernels equals one in plain torch: same weights, same random numbers."""

import copy

import pytest
import torch
from support.networks import build

from electrify import kernels
from electrify.models.electra import ElectraConfig
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.noise import row_keys
from electrify.objectives.rtd import ReplacedTokenDetection

ELECTRA = ElectraConfig(
    vocab_size=500, embedding_size=32, hidden_size=64, num_hidden_layers=3, num_attention_heads=2,
    intermediate_size=128, max_position_embeddings=64,
)  # fmt: skip
MODERNBERT = ModernBertConfig(
    vocab_size=500, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96,
    max_position_embeddings=64, pad_token_id=0, local_attention=16, embedding_dropout=0.1, mlp_dropout=0.1,
    attention_dropout=0.1,
)  # fmt: skip
CONFIGS = {"electra": ELECTRA, "modernbert": MODERNBERT}
pytestmark = pytest.mark.skipif(not kernels.is_enabled(), reason="no compiler at installation, or no AVX-512 bfloat16")


def take(rtd: ReplacedTokenDetection, dtype: torch.dtype, *, seed: int) -> tuple[float, dict[str, torch.Tensor]]:
    ids = torch.randint(5, 500, (4, 40), generator=torch.Generator().manual_seed(seed))
    documents = (torch.arange(40) >= 25).long().expand(4, 40)
    lengths = torch.tensor([40, 40, 33, 40])
    is_real = torch.arange(40) < lengths[:, None]
    inputs = Inputs(ids.masked_fill(~is_real, 0), is_real, document_ids=documents)  # padding is never masked
    rtd.train()
    rtd.zero_grad()
    batch = rtd.prepare(inputs, row_keys(seed, 1, torch.arange(4)))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = rtd(batch, totals=batch.counts)
    output.loss.backward()
    return float(output.loss.detach()), {
        name: one.grad.clone() for name, one in rtd.named_parameters() if one.grad is not None
    }


@pytest.mark.parametrize("body", ["electra", "modernbert"])
@pytest.mark.parametrize("seed", [1, 2, 3])  # at 0 both bfloat16 ways draw one token that float32 does not
def test_bf16(body: str, seed: int) -> None:
    rtd = build(CONFIGS[body], sharing="word", hidden_ratio=1.0)
    plain = copy.deepcopy(rtd)
    loss, gradients = take(rtd, torch.bfloat16, seed=seed)
    with kernels.disabled():
        expected, plain_gradients = take(plain, torch.bfloat16, seed=seed)
        _, exact = take(copy.deepcopy(plain), torch.float32, seed=seed)
    assert loss == pytest.approx(expected, rel=1e-3)
    assert gradients.keys() == plain_gradients.keys() == exact.keys()
    all_ours, all_plain, all_exact = (
        torch.cat([parts[name].flatten() for name in exact]) for parts in (gradients, plain_gradients, exact)
    )
    error, plain_error = (all_ours - all_exact).norm(), (all_plain - all_exact).norm()
    assert error < 0.03 * all_exact.norm(), "of bfloat16"
    assert error < 1.5 * plain_error, "no further from float32 than torch's own bfloat16"


@pytest.mark.parametrize("body", ["electra", "modernbert"])
def test_fp32(body: str) -> None:
    rtd = build(CONFIGS[body], sharing="word", hidden_ratio=1.0)
    plain = copy.deepcopy(rtd)
    loss, gradients = take(rtd, torch.float32, seed=0)
    with kernels.disabled():
        expected, plain_gradients = take(plain, torch.float32, seed=0)
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-5, atol=1e-6)
