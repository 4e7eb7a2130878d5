"""The softmax over the vocabulary for a block of positions: loss, sample, figures and gradient in one pass."""

import ctypes

import torch
from torch import Tensor

from electrify.kernels.library import call, pointer


class _Arguments(ctypes.Structure):
    """`VocabularyArguments` of vocabulary.cpp, field by field."""

    _fields_ = (
        ("positions", ctypes.c_long),
        ("vocab_size", ctypes.c_long),
        ("temperature", ctypes.c_double),
        *((name, ctypes.c_int) for name in ("excludes_target", "needs_gradient", "wants_figures")),
        *((name, ctypes.c_void_p) for name in ("logits", "bias", "targets", "uniforms", "losses", "samples")),
        *((name, ctypes.c_void_p) for name in ("best", "entropy", "bias_grad")),
        ("threads", ctypes.c_int),
    )


def predict(
    logits: Tensor,
    bias: Tensor,
    targets: Tensor,
    uniforms: Tensor,
    *,
    temperature: float,
    exclude_target: bool,
    losses: Tensor,
    samples: Tensor,
    best: Tensor | None,
    entropy: Tensor | None,
    bias_grad: Tensor | None,
) -> None:
    """Fill in what a block of positions gives; with `bias_grad`, `logits` becomes the gradient of its loss.

    Args:
        logits: Scores without bias, (P, V) bfloat16; overwritten if a gradient is wanted.
        bias: (V,) float32.
        targets: The original tokens, (P,) int64.
        uniforms: Random numbers in (0, 1), (P,) float64.
        temperature: Of the samples.
        exclude_target: Whether the original can not be drawn.
        losses: Cross-entropies in nats, (P,) float32; filled in.
        samples: One draw a position, (P,) int64; filled in.
        best: The most likely tokens, (P,) int64; filled in together with `entropy`.
        entropy: In nats, (P,) float32.
        bias_grad: One sum a thread, (threads, V) float32; added to.
    """
    tensors = (logits, bias, targets, uniforms, losses, samples, best, entropy, bias_grad)
    flags = exclude_target, bias_grad is not None, best is not None
    sizes = logits.shape[0], logits.shape[1]
    threads = torch.get_num_threads() if bias_grad is None else bias_grad.shape[0]
    arguments = _Arguments(*sizes, temperature, *map(int, flags), *map(pointer, tensors), threads)
    call("predict_bf16", ctypes.byref(arguments))
