"""One pass over the vocabulary: a block of positions becomes losses, samples and gradients while it is in the cache.

The (P, V) matrix of logits never exists. Gradients are computed in the forward pass, as they need nothing that comes
later but a factor. Compiled where it can be, in plain torch elsewhere; the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from electrify import kernels
from electrify.kernels import vocabulary as native
from electrify.kernels.linear import outer_products
from electrify.noise import uniform

_BLOCK_ELEMENTS = 1 << 22  # logits in one block
_NATIVE_BLOCK_ELEMENTS = 1 << 25  # the compiled pass makes one matrix of them, the plain one several
Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Loss, samples, most likely tokens, entropy, losses by position; what was not wished for is of no use."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a pass is to compute beside the loss."""

    temperature: float = 1.0
    exclude_target: bool = False
    with_figures: bool = False
    z_loss: float = 0.0


@dataclass(slots=True)
class Pass:
    """What one pass is given, and what it fills in."""

    vectors: Tensor  # (P, E) in the products' type
    table: Tensor  # (V, E), the same
    bias: Tensor  # (V,) float32
    gate: Tensor | None  # (P,) float32
    target_ids: Tensor
    sample_keys: Tensor | None  # no samples without them
    is_same: Tensor | None  # (P,) bool
    wishes: Wishes
    needs_gradient: bool
    losses: Tensor = field(init=False)  # (P,) float32
    entropy: Tensor = field(init=False)
    sampled_ids: Tensor = field(init=False)  # (P,) int64
    best_ids: Tensor = field(init=False)
    vector_grad: Tensor = field(init=False)  # (P, E) float32
    table_grad: Tensor = field(init=False)  # (V, E) float32
    bias_grad: Tensor = field(init=False)  # (V,) float32
    bias_extra: Tensor = field(init=False)  # (V,) float32: the penalty's part of it
    weights: Tensor | None = field(init=False, default=None)  # (P,) float32: what a copy leaves of the gradients
    log_totals: Tensor | None = field(init=False, default=None)  # (P,) float32: log of the softmax's denominators

    def __post_init__(self) -> None:
        self.losses, self.entropy = self.vectors.new_empty((2, len(self.target_ids)), dtype=torch.float32)
        self.sampled_ids, self.best_ids = torch.empty_like(self.target_ids), torch.empty_like(self.target_ids)
        self.vector_grad = torch.empty_like(self.vectors, dtype=torch.float32)
        self.table_grad = torch.zeros(0, dtype=torch.float32)
        self.bias_grad, self.bias_extra = torch.zeros_like(self.bias), torch.zeros_like(self.bias)
        if self.gate is not None:
            self.weights = torch.empty_like(self.gate)
        if self.wishes.z_loss:
            self.log_totals = torch.empty_like(self.losses)

    def blocks(self, num_elements: int) -> Iterator[slice]:
        """Cut the positions into blocks of about so many logits."""
        size = max(1, num_elements // self.table.shape[0])
        return (slice(start, start + size) for start in range(0, len(self.target_ids), size))

    def add_gradients(self, block: slice, gradient: Tensor) -> None:
        """Take in the gradient of a block's logits, (p, V) in the products' type; only its losses must be there."""
        vector_grad, vectors = torch.mm(gradient, self.table), self.vectors[block]
        if self.weights is not None:
            weights = self.weigh(block)[:, None]
            vector_grad, vectors = vector_grad * weights, vectors * weights.to(vectors.dtype)
            self.bias_grad += torch.mm(gradient.T, weights.to(gradient.dtype)).squeeze(1)
        self.vector_grad[block] = vector_grad
        is_first = not self.table_grad.numel()
        if kernels.serve(gradient) and vectors.shape[1] % 16 == 0:
            self.table_grad = (
                self.table.new_empty(self.table.shape, dtype=torch.float32) if is_first else self.table_grad
            )
            outer_products(gradient, vectors.contiguous(), into=self.table_grad, accumulate=not is_first)
        else:
            part = torch.mm(gradient.T, vectors)
            self.table_grad = part.float() if is_first else self.table_grad.add_(part)
        if self.log_totals is not None:
            self._add_penalty(block, gradient, self.log_totals[block])

    def _add_penalty(self, block: slice, gradient: Tensor, log_totals: Tensor) -> None:
        """Take in the gradient of the penalty on a block, 2 · z_loss · log Z · p, where `gradient` is p - [target].

        Its products are taken by themselves: as a factor near 1 on the loss's gradient it would be rounded away.
        """
        slopes, targets = (2 * self.wishes.z_loss * log_totals)[:, None], self.target_ids[block]
        self.vector_grad[block] += slopes * (self.vector_grad[block] + self.table[targets])
        probabilities = gradient.scatter_add_(1, targets[:, None], torch.ones_like(gradient[:, :1]))
        self.table_grad += torch.mm(probabilities.T, (slopes * self.vectors[block]).to(gradient.dtype))
        self.bias_extra += torch.mm(probabilities.T, slopes.to(gradient.dtype)).squeeze(1)

    @property
    def loss(self) -> Tensor:
        """Return the sum of all losses and penalties, scalar float32."""
        if self.log_totals is None:
            return self.losses.sum()
        return self.losses.sum() + self.wishes.z_loss * self.log_totals.square().sum()

    def weigh(self, block: slice) -> Tensor:
        """Mix a block's losses with copies; return the shares of the softmax in the targets' probabilities, (p,).

        With P = D · [same] + (1 - D) · p, the share (1 - D) · p / P is what remains of the gradient of -log p.
        """
        assert self.gate is not None
        assert self.is_same is not None
        assert self.weights is not None
        gate, drawn = self.gate[block], F.logsigmoid(-self.gate[block]) - self.losses[block]
        copied = F.logsigmoid(gate).masked_fill(~self.is_same[block], -torch.inf)
        mixed = torch.logaddexp(copied, drawn)
        self.losses[block] = -mixed
        self.weights[block] = (drawn - mixed).exp()
        return self.weights[block]

    def gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the gradients of vectors, table, bias and gate."""
        gate_grad = None
        if self.gate is not None and self.weights is not None:
            gate_grad = self.gate.sigmoid() - 1 + self.weights
        table_grad = self.table_grad if self.table_grad.numel() else torch.zeros_like(self.table, dtype=torch.float32)
        bias_grad = self.bias_grad if self.log_totals is None else self.bias_grad + self.bias_extra
        return self.vector_grad, table_grad, bias_grad, gate_grad


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


def _work_compiled(of: Pass) -> None:
    wishes, ids = of.wishes, of.target_ids
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(of.table):  # which the kernel believes
        raise IndexError(f"target ids must be in [0, {len(of.table)}), got {int(ids.min())} to {int(ids.max())}")
    uniforms = torch.full_like(of.losses, 0.5).double() if of.sample_keys is None else uniform(of.sample_keys)
    sums = (torch.get_num_threads(), len(of.bias))
    bias_sums = torch.zeros(sums, dtype=torch.float32) if of.needs_gradient else None
    for block in of.blocks(_NATIVE_BLOCK_ELEMENTS):
        logits = torch.mm(of.vectors[block], of.table.T)
        targets = of.target_ids[block]
        if of.log_totals is not None:  # the compiled pass gives losses alone, and overwrites the scores
            of.log_totals[block] = logits.gather(1, targets[:, None]).squeeze(1).float() + of.bias[targets]
        native.predict(
            logits,
            of.bias,
            targets,
            uniforms[block],
            temperature=wishes.temperature,
            exclude_target=wishes.exclude_target,
            losses=of.losses[block],
            samples=of.sampled_ids[block],
            best=of.best_ids[block] if wishes.with_figures else None,
            entropy=of.entropy[block] if wishes.with_figures else None,
            bias_grad=bias_sums,
        )
        if of.log_totals is not None:
            of.log_totals[block] += of.losses[block]
        if of.needs_gradient:
            of.add_gradients(block, logits)
        elif of.gate is not None:
            of.weigh(block)
    if bias_sums is not None and of.gate is None:
        of.bias_grad = bias_sums.sum(0)


def _work_plainly(of: Pass) -> None:
    wishes = of.wishes
    for block in of.blocks(_BLOCK_ELEMENTS):
        targets = of.target_ids[block, None]
        logits = torch.mm(of.vectors[block], of.table.T).float().add_(of.bias)  # (p, V)
        is_plain = wishes.temperature == 1.0 and not wishes.exclude_target
        original = logits.clone() if wishes.with_figures or not is_plain else None
        highest = logits.amax(-1, keepdim=True)
        target_logits = logits.gather(1, targets)
        probabilities = logits.sub_(highest).exp_()
        total = probabilities.sum(-1, keepdim=True)
        log_total = total.log() + highest
        probabilities.div_(total)
        of.losses[block] = (log_total - target_logits).squeeze(1)
        if of.log_totals is not None:
            of.log_totals[block] = log_total.squeeze(1)
        if wishes.with_figures and original is not None:
            of.best_ids[block] = original.argmax(-1)
            of.entropy[block] = log_total.squeeze(1) - torch.linalg.vecdot(probabilities, original)
        if of.sample_keys is not None:
            if original is None or is_plain:
                proposal = probabilities.clone()
            else:
                if wishes.exclude_target:  # measured from its score, all others' weights could be rounded to 0
                    highest = original.scatter_(1, targets, -torch.inf).amax(-1, keepdim=True)
                proposal = original.sub_(highest).div_(wishes.temperature).exp_()
            of.sampled_ids[block] = draw(proposal, of.sample_keys[block])
        if of.needs_gradient:
            probabilities.scatter_add_(1, targets, torch.full_like(target_logits, -1.0))
            if of.gate is None:
                of.bias_grad += probabilities.sum(0)
            of.add_gradients(block, probabilities.to(of.vectors.dtype))
        elif of.gate is not None:
            of.weigh(block)


class _PredictTokens(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        table: Tensor,
        bias: Tensor,
        gate: Tensor | None,
        target_ids: Tensor,
        sample_keys: Tensor | None,
        is_same: Tensor | None,
        dtype: torch.dtype,
        wishes: Wishes,
        with_gradient: bool,
    ) -> Results:
        cast = vectors.detach().to(dtype), table.detach().to(dtype), bias.detach().float()
        gate_logits = None if gate is None else gate.detach().float()
        needs_gradient = with_gradient and any(ctx.needs_input_grad[:4])
        work = Pass(*cast, gate_logits, target_ids, sample_keys, is_same, wishes, needs_gradient)
        is_compiled = dtype == torch.bfloat16 and kernels.serve(work.vectors)
        (_work_compiled if is_compiled else _work_plainly)(work)
        if needs_gradient:
            ctx.save_for_backward(*work.gradients())
            ctx.dtypes = vectors.dtype, table.dtype, bias.dtype, None if gate is None else gate.dtype
        ctx.mark_non_differentiable(work.sampled_ids, work.best_ids, work.entropy, work.losses)
        return work.loss, work.sampled_ids, work.best_ids, work.entropy, work.losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # In place, as one of them is of the table's size; autograd refuses to come here a second time.
        scaled = (
            None if tensor is None else tensor.mul_(gradients[0]).to(dtype)
            for tensor, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return *scaled, None, None, None, None, None, None


def run_pass(
    vectors: Tensor,
    table: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    *,
    sample_keys: Tensor | None = None,
    gate: Tensor | None = None,
    is_same: Tensor | None = None,
    wishes: Wishes,
) -> Results:
    """Compute what is wished for, matrix products in autocast's type; see `vocabulary.predict_tokens`."""
    device = vectors.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else table.dtype
    with torch.autocast(device, enabled=False):
        results: Results = _PredictTokens.apply(  # type: ignore[no-untyped-call]
            vectors, table, bias, gate, target_ids, sample_keys, is_same, dtype, wishes, torch.is_grad_enabled()
        )
    return results
