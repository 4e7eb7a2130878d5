"""Each compiled kernel, timed in turn with the usual way of writing the same thing in torch, forward and backward.

    python benchmarks/kernels.py

Sizes are those of ELECTRA-Small with 32 rows of 128 tokens, bf16, dropout 0.1 where there is dropout. Both sides run in
one process that keeps freed memory (`training/process.py`). Prints medians of nine rounds, A B A B, with minimum and
maximum, and the median of the ratios.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from electrify.kernels import activation, attention, linear, norm
from electrify.noise import row_keys
from electrify.objectives.vocabulary import predict_tokens
from electrify.objectives.vocabulary_pass import draw
from electrify.training.process import settle

ROUNDS = 9
ROWS, TOKENS, HEADS, SIZE, INNER = 32, 128, 4, 256, 1024
KEYS = row_keys(0, 0, torch.arange(ROWS))


def compare(title: str, usual: Callable[[], torch.Tensor], ours: Callable[[], torch.Tensor]) -> None:
    times: dict[str, list[float]] = {"usual": [], "ours": []}
    for number in range(ROUNDS + 2):
        for name, function in (("usual", usual), ("ours", ours)):
            start = time.perf_counter()
            function().float().sum().backward()
            if number >= 2:  # the first rounds warm up
                times[name].append(1000 * (time.perf_counter() - start))
    print(title)
    for name, values in times.items():
        print(f"  {name:<6}{statistics.median(values):8.2f} ms  ({min(values):.2f} to {max(values):.2f})")
    ratios = [a / b for a, b in zip(times["usual"], times["ours"], strict=True)]
    print(f"  ratio {statistics.median(ratios):8.2f}     ({min(ratios):.2f} to {max(ratios):.2f})")


def made(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(shape).to(dtype).requires_grad_()


def vocabulary() -> None:
    vectors, table = made(1216, 128, dtype=torch.float32), made(30_522, 128, dtype=torch.float32)
    bias = torch.zeros(30_522).requires_grad_()
    targets, keys = torch.randint(0, 30_522, (1216,)), row_keys(0, 0, torch.arange(1216))

    def plain() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = F.linear(vectors, table, bias)
        draw(logits.detach().float().softmax(-1), keys)
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def ours() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return predict_tokens(vectors, table, bias, targets, keys).loss

    def penalised() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return predict_tokens(vectors, table, bias, targets, keys, z_loss=1e-4).loss

    compare("loss, sample and gradients of a softmax, 1,216 positions x 30,522 tokens, vectors of 128", plain, ours)
    compare("the same, ours with a penalty on the denominator (usual) and without (ours)", penalised, ours)


def heads() -> None:
    joint, bias = made(ROWS, TOKENS, 3 * SIZE), made(3 * SIZE, dtype=torch.float32)

    def plain() -> torch.Tensor:
        parts = (joint + bias.bfloat16()).view(ROWS, TOKENS, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(*parts, dropout_p=0.1).transpose(1, 2).reshape(ROWS, TOKENS, SIZE)

    place = {"keys": KEYS, "drop_prob": 0.1}
    compare("attention", plain, lambda: attention.attend(joint, num_heads=HEADS, bias=bias, **place))


def residual() -> None:
    x, stream = made(ROWS, TOKENS, SIZE), made(ROWS, TOKENS, SIZE)
    weight, bias = made(SIZE, dtype=torch.float32), made(SIZE, dtype=torch.float32)

    def plain() -> torch.Tensor:
        return F.layer_norm(stream + F.dropout(x + bias.bfloat16(), 0.1), (SIZE,), weight.bfloat16(), bias.bfloat16())

    def ours() -> torch.Tensor:
        place = {"keys": KEYS, "drop_prob": 0.1}
        return norm.add_norm(x, stream, weight, bias=bias, norm_bias=bias, epsilon=1e-5, **place)[0]

    compare("bias, dropout, residual, norm", plain, ours)


def gelu() -> None:
    x, bias = made(ROWS, TOKENS, INNER), made(INNER, dtype=torch.float32)
    compare("bias and GELU", lambda: F.gelu(x + bias.bfloat16()), lambda: activation.gelu(x, bias))


def product() -> None:
    x, weight = made(ROWS * TOKENS, SIZE), made(INNER, SIZE, dtype=torch.float32)
    compare(
        "linear map, with its weight's gradient",
        lambda: F.linear(x, weight.bfloat16()),
        lambda: linear.linear(x, weight),
    )
    numbers = {"usual": itertools.count(1001), "ours": itertools.count(1001)}  # of tokens: each call has another
    compare(
        "the same, another number of tokens each time, some 1,000",
        lambda: F.linear(x[: next(numbers["usual"])], weight.bfloat16()),
        lambda: linear.linear(x[: next(numbers["ours"])], weight),
    )


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    settle()
    torch.manual_seed(0)
    for part in (vocabulary, heads, residual, gelu, product):
        part()
