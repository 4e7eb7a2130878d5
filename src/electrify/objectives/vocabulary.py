"""The generator's softmax over the vocabulary: loss, sample and gradient in one pass over a few positions at a time.

Written plainly, a batch of 1,200 masked positions and a vocabulary of 30,522 makes half a dozen matrices of 150 MB that
live in main memory. Here one block of positions at a time stays in the cache: its logits become its loss, its samples
and the gradients of hidden states and output matrix; the (P, V) matrix never exists. The gradient is computed in the
forward pass, as it needs nothing that comes later but a factor.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from electrify import kernels
from electrify.kernels import vocabulary as native
from electrify.noise import uniform

_BLOCK_ELEMENTS = 1 << 22  # logits in one block
_NATIVE_BLOCK_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the generator says at the masked positions; only `loss` carries a gradient."""

    loss: Tensor
    """Sum over positions of the cross-entropy in nats, scalar float32."""
    sampled_ids: Tensor
    """One draw a position, (P,) int64."""
    best_ids: Tensor | None
    """The most likely token, (P,) int64; None without figures."""
    entropy: Tensor | None
    """Of the distribution, in nats, (P,) float32; None without figures."""


def predict_tokens(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    sample_keys: Tensor,
    *,
    temperature: float = 1.0,
    exclude_target: bool = False,
    with_figures: bool = False,
) -> Predictions:
    """Compute loss and samples; matrix products in autocast's type if it is on, all else in float32.

    Args:
        vectors: What is multiplied with the table, (P, E).
        table: One vector a token, (V, E).
        bias: (V,).
        target_ids: The original tokens, (P,) int64.
        sample_keys: Key of each position's random number, (P,) int64.
        temperature: Of the samples, not of the loss.
        exclude_target: Whether the original can not be drawn.
        with_figures: Whether the most likely tokens and the entropy are computed, which takes longer.
    """
    device = vectors.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else table.dtype
    with torch.autocast(device, enabled=False):
        loss, sampled_ids, best_ids, entropy = _PredictTokens.apply(  # type: ignore[no-untyped-call]
            vectors, table, bias, target_ids, sample_keys, dtype, temperature, exclude_target, with_figures
        )
    return Predictions(loss, sampled_ids, *((best_ids, entropy) if with_figures else (None, None)))


def draw(probabilities: Tensor, keys: Tensor) -> Tensor:
    """Draw one token a row by the inverse of the cumulative distribution, in float32.

    One random number a position instead of one Gumbel number for each entry of the vocabulary.

    Args:
        probabilities: Proportional to them, (P, V) float32; overwritten.
        keys: Key of each row's random number, (P,) int64.
    """
    cumulative = probabilities.cumsum_(-1)
    threshold = uniform(keys).float() * cumulative[:, -1]
    return torch.searchsorted(cumulative, threshold[:, None]).squeeze(1).clamp_(max=cumulative.shape[1] - 1)


class _PredictTokens(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        table: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        sample_keys: Tensor,
        dtype: torch.dtype,
        temperature: float,
        exclude_target: bool,
        with_figures: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        num_positions, vocab_size = len(target_ids), table.shape[0]
        needs_gradient = any(ctx.needs_input_grad[:3])
        cast_vectors, cast_table = vectors.detach().to(dtype), table.detach().to(dtype)
        plain_bias = bias.detach().float()
        losses, entropy = vectors.new_empty((2, num_positions), dtype=torch.float32)
        sampled_ids, best_ids = torch.empty_like(target_ids), torch.empty_like(target_ids)
        if needs_gradient:
            vector_grad = torch.empty_like(vectors, dtype=torch.float32)
            table_grad = torch.zeros_like(table, dtype=torch.float32)
            bias_grad = torch.zeros_like(plain_bias)
        is_native = dtype == torch.bfloat16 and kernels.serve(cast_vectors)
        if is_native:
            uniforms = uniform(sample_keys)
            thread_sums = torch.zeros(torch.get_num_threads(), vocab_size) if needs_gradient else None
        size = max(1, (_NATIVE_BLOCK_ELEMENTS if is_native else _BLOCK_ELEMENTS) // vocab_size)
        for start in range(0, num_positions, size):
            block = slice(start, start + size)
            if is_native:
                logits = torch.mm(cast_vectors[block], cast_table.T)
                native.predict(
                    logits,
                    plain_bias,
                    target_ids[block],
                    uniforms[block],
                    temperature=temperature,
                    exclude_target=exclude_target,
                    losses=losses[block],
                    samples=sampled_ids[block],
                    best=best_ids[block] if with_figures else None,
                    entropy=entropy[block] if with_figures else None,
                    bias_grad=thread_sums,
                )
                if needs_gradient:
                    vector_grad[block] = torch.mm(logits, cast_table)
                    table_grad += torch.mm(logits.T, cast_vectors[block])
                continue
            targets = target_ids[block, None]
            logits = torch.mm(cast_vectors[block], cast_table.T).float().add_(plain_bias)  # (p, V)
            original = logits.clone() if with_figures or temperature != 1.0 else None
            highest = logits.amax(-1, keepdim=True)
            target_logits = logits.gather(1, targets)
            probabilities = logits.sub_(highest).exp_()
            total = probabilities.sum(-1, keepdim=True)
            log_total = total.log() + highest
            probabilities.div_(total)
            losses[block] = (log_total - target_logits).squeeze(1)
            if with_figures and original is not None:
                best_ids[block] = original.argmax(-1)
                entropy[block] = log_total.squeeze(1) - torch.linalg.vecdot(probabilities, original)
            if original is None or temperature == 1.0:
                proposal = probabilities.clone()
            else:
                proposal = original.sub_(highest).div_(temperature).exp_()
            if exclude_target:
                proposal.scatter_(1, targets, 0.0)
            sampled_ids[block] = draw(proposal, sample_keys[block])
            if needs_gradient:
                probabilities.scatter_add_(1, targets, torch.full_like(target_logits, -1.0))
                bias_grad += probabilities.sum(0)
                cast_gradient = probabilities.to(dtype)
                vector_grad[block] = torch.mm(cast_gradient, cast_table)
                table_grad += torch.mm(cast_gradient.T, cast_vectors[block])
        if is_native and thread_sums is not None:
            bias_grad = thread_sums.sum(0)
        if needs_gradient:
            ctx.save_for_backward(vector_grad, table_grad, bias_grad)
            ctx.dtypes = vectors.dtype, table.dtype, bias.dtype
        ctx.mark_non_differentiable(sampled_ids, best_ids, entropy)
        return losses.sum(), sampled_ids, best_ids, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (tensor * gradients[0] for tensor in ctx.saved_tensors)
        vectors, table, bias = (tensor.to(dtype) for tensor, dtype in zip(scaled, ctx.dtypes, strict=True))
        return vectors, table, bias, None, None, None, None, None, None
