"""Layers that leave padding out give what layers give that work on it, dropout and gradients included."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from electrify import kernels
from electrify.kernels.unpadded import leave_out
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.noise import row_keys

native = pytest.mark.skipif(not kernels.is_enabled(), reason="no compiler at installation, or no AVX-512 bfloat16")
SIZES = {"vocab_size": 60, "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "pad_token_id": 0}


def electra(dropout: float, *, has_gate: bool) -> ElectraModel:
    return ElectraModel(
        ElectraConfig(
            **SIZES,
            embedding_size=32,
            intermediate_size=96,
            max_position_embeddings=150,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attention_gate=has_gate,
            initializer_range=0.2,
        )
    )


def modernbert(dropout: float, *, has_gate: bool) -> ModernBertModel:
    return ModernBertModel(
        ModernBertConfig(
            **SIZES,
            intermediate_size=96,
            local_attention=8,
            attention_dropout=dropout,
            embedding_dropout=dropout,
            mlp_dropout=dropout,
            attention_gate=has_gate,
            initializer_range=0.2,
        )
    )


def real(lengths: list[int], tokens: int) -> Tensor:
    return torch.arange(tokens) < torch.tensor(lengths)[:, None]


def run(body: nn.Module, inputs: Inputs, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Hidden states where tokens are real, and all gradients of a sum over them."""
    is_real = inputs.attention_mask
    assert is_real is not None
    with torch.autocast("cpu", torch.bfloat16):
        hidden = body(inputs)[is_real].float()
    gradients = torch.autograd.grad((hidden * weights[is_real]).sum(), list(body.parameters()))
    return hidden.detach(), list(gradients)


@native
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=6).filter(any),
    build=st.sampled_from([electra, modernbert]),
    dropout=st.sampled_from([0.0, 0.2]),
    has_gate=st.booleans(),
    num_documents=st.sampled_from([None, 3]),
    causal=st.sampled_from(["no", "all", "some"]),
)
def test_padding_changes_nothing(lengths, build, dropout, has_gate, num_documents, causal):
    torch.manual_seed(0)
    rows, tokens = len(lengths), 97
    body = build(dropout, has_gate=has_gate)
    documents = None
    if num_documents is not None:
        documents = torch.randint(0, num_documents, (rows, tokens)).sort(dim=1).values
    inputs = Inputs(
        torch.randint(1, 60, (rows, tokens)),
        attention_mask=real(lengths, tokens),
        document_ids=documents,
        dropout_keys=row_keys(1, 2, torch.arange(rows)),
        causal={"no": False, "all": True, "some": torch.arange(rows) % 2 == 0}[causal],
    )
    assert leave_out(inputs.attention_mask) is not None
    weights = torch.randn(rows, tokens, 64)

    hidden, gradients = run(body, inputs, weights)
    expected, expected_gradients = run(body, replace(inputs, keeps_padding=True), weights)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=0.04 * float(expected.abs().max()))
    for mine, theirs in zip(gradients, expected_gradients, strict=True):
        assert (mine - theirs).norm() <= 0.02 * theirs.norm() + 1e-5


@native
def test_layers_do_leave_padding_out():
    body, seen = electra(0.1, has_gate=False), []
    body.blocks[0].register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    inputs = Inputs(torch.ones(2, 96, dtype=torch.int64), attention_mask=real([30, 70], 96))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hidden = body(inputs)
        body(replace(inputs, keeps_padding=True))
        with kernels.disabled():
            body(inputs)
    assert seen == [(100, 64), (2, 96, 64), (2, 96, 64)]
    assert hidden.shape == (2, 96, 64)


@given(lengths=st.lists(st.integers(0, 50), min_size=1, max_size=9), spare=st.integers(0, 40))
def test_the_real_tokens_are_kept_and_no_others(lengths, spare):
    tokens = max(1, max(lengths) + spare)
    is_real = real(lengths, tokens)
    layout = leave_out(is_real)
    if layout is None:
        assert is_real.all()
        return
    x = torch.randn(len(lengths), tokens, 3)
    assert torch.equal(layout.unpad(x), x[is_real])
    assert torch.equal(layout.pad(layout.unpad(x)), x * is_real[..., None])
    assert layout.begins.diff().tolist() == lengths


def test_padding_before_tokens_is_not_left_out():
    is_real = ~real([60, 3], 90)
    assert leave_out(is_real) is None


def test_gradients_go_to_the_tokens_that_are_kept():
    layout = leave_out(real([3, 40], 50))
    assert layout is not None
    x = torch.randn(2, 50, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.unpad, x)
    assert torch.autograd.gradcheck(layout.pad, torch.randn(43, 3, dtype=torch.float64, requires_grad=True))
