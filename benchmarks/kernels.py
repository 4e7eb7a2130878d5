"""Two choices in the step, timed in turn with the usual way of writing them.

The one pass over the vocabulary, and plain attention against torch's fused one on a CPU in bf16.

    python benchmarks/kernels.py

Prints medians of seven rounds, A B A B, with minimum and maximum, and the median of the ratios.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from electrify.models.attention import attend
from electrify.models.dropout import Dropout
from electrify.noise import row_keys
from electrify.objectives.vocabulary import draw, predict_tokens

ROUNDS = 7


def compare(title: str, usual: Callable[[], None], ours: Callable[[], None]) -> None:
    times: dict[str, list[float]] = {"usual": [], "ours": []}
    for number in range(ROUNDS + 1):
        for name, function in (("usual", usual), ("ours", ours)):
            start = time.perf_counter()
            function()
            if number:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - start))
    print(title)
    for name, values in times.items():
        print(f"  {name:<6}{statistics.median(values):8.1f} ms  ({min(values):.1f} to {max(values):.1f})")
    ratios = [a / b for a, b in zip(times["usual"], times["ours"], strict=True)]
    print(f"  ratio {statistics.median(ratios):8.2f}     ({min(ratios):.2f} to {max(ratios):.2f})")


def vocabulary() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(1216, 128).requires_grad_()
    table = (0.1 * torch.randn(30_522, 128)).requires_grad_()
    bias = torch.zeros(30_522).requires_grad_()
    targets, keys = torch.randint(0, 30_522, (1216,)), row_keys(0, 0, torch.arange(1216))

    def plain() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = F.linear(vectors, table, bias)
        loss = F.cross_entropy(logits.float(), targets, reduction="sum")
        draw(logits.detach().float().softmax(-1), keys)
        loss.backward()

    def ours() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            predictions = predict_tokens(vectors, table, bias, targets, keys)
        predictions.loss.backward()

    compare("loss, sample and gradients, 1,216 positions x 30,522 tokens, vectors of 128, bf16", plain, ours)


def attention() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(32, 4, 128, 64, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]
    none = Dropout(0.0, 0)
    compare(
        "attention, forward and backward, 32 rows, 4 heads, 128 tokens, head size 64, bf16",
        lambda: F.scaled_dot_product_attention(*parts).sum().backward(),
        lambda: attend(*parts, bias=None, dropout=none, keys=None).sum().backward(),
    )


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    vocabulary()
    attention()
