"""What gradients cost on 8, 64 and 1,024 GPUs, on paper: bytes a step against floating-point operations.

    python benchmarks/scaling_model.py

The model, with its assumptions in `docs/scale.md`: a ring all-reduce sends 2·(N − 1)/N times the gradients (float32)
through each GPU's link, which DDP hides behind the backward pass, but for the last bucket.
"""

from dataclasses import dataclass

TOKENS_A_ROW = 512
TFLOPS = 0.4 * 312e12  # an A100's bf16 peak, used at 40 %
NVLINK, NETWORK = 200e9, 25e9  # bytes a second and GPU: within a node of 8, and between nodes (8 × 200 Gbit/s)
LAST_BUCKET = 25e6  # bytes, torch's default
LATENCY = 20e-6  # seconds a hop of a ring


@dataclass(frozen=True)
class Size:
    """One of the paper's sizes, counted from the recipes (`paper-*`)."""

    name: str
    parameters: float  # of both networks, shared ones once
    discriminator_matrices: float  # weights that each token meets
    generator_matrices: float
    embedding: int  # width of the generator's softmax
    batch: int


SIZES = (
    Size("small", 14.2e6, 9.5e6, 0.6e6, 128, 128),
    Size("base", 119.4e6, 85.5e6, 9.8e6, 768, 256),
    Size("large", 354.7e6, 303.0e6, 19.4e6, 1024, 2048),
)


def flops_a_step(size: Size, batch: int) -> float:
    """Forward and backward: six operations a weight and token; the softmax over 30,522 words at 15 % of the tokens."""
    tokens = batch * TOKENS_A_ROW
    softmax = 0.15 * 30_522 * size.embedding
    return 6 * tokens * (size.discriminator_matrices + size.generator_matrices + softmax)


def seconds_a_step(size: Size, batch: int, gpus: int) -> tuple[float, float, float]:
    """Compute, exchange, and the step with what of the exchange can not be hidden."""
    compute = flops_a_step(size, batch) / gpus / TFLOPS
    bandwidth = NVLINK if gpus <= 8 else NETWORK
    gradients = 4 * size.parameters
    ring = 2 * (gpus - 1) / gpus
    exchange = ring * gradients / bandwidth + 2 * (gpus - 1) * LATENCY
    hidden = min(exchange, compute * 2 / 3)  # the backward pass
    tail = ring * min(LAST_BUCKET, gradients) / bandwidth
    return compute, exchange, compute + max(exchange - hidden, tail)


def main() -> None:
    print("size   GPUs  rows/step  rows/GPU  sent MB  compute ms  exchange ms  step ms  efficiency")
    for size in SIZES:
        for gpus in (8, 64, 1024):
            for batch in dict.fromkeys((size.batch, max(size.batch, 32 * gpus))):
                if batch < gpus:
                    continue
                compute, exchange, step = seconds_a_step(size, batch, gpus)
                sent = 2 * (gpus - 1) / gpus * 4 * size.parameters / 1e6
                print(
                    f"{size.name:6s} {gpus:4d}  {batch:9,}  {batch / gpus:8.0f}  {sent:7.0f}  {1e3 * compute:10.1f}"
                    f"  {1e3 * exchange:11.1f}  {1e3 * step:7.1f}  {compute / step:9.0%}"
                )


if __name__ == "__main__":
    main()
