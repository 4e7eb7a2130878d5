"""How the speed and the memory of a training step grow with length, batch, network and vocabulary.

    python benchmarks/scaling.py length     (or alternating, local, batch, network, vocabulary)

electrify alone, full rows, no dropout, two rounds each. "floor" is the time that the step's matrix products would take
at the rate measured beside them; "bytes" the time to move what can not stay in the processor at the measured rate of
copying. What a step takes beyond the greater of the two is what there is to win. "length" is ELECTRA's body, in which
every token sees all others; "alternating" is the modernbert body with every third layer global as published, "local"
with the first one alone, both at the same 8,192 tokens a step.
"""

import sys
import time

import torch

from electrify.bench.rows import made_up_tokenizer
from electrify.bench.step import StepReport, bench_step
from electrify.models.build import generator_config
from electrify.models.operations import step_bytes
from electrify.pretraining.networks import encoder_config
from electrify.pretraining.objectives import build_rtd
from electrify.recipes import load_recipe

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
AXES = {
    "length": [{"length": length, "batch": 4096 // length} for length in (128, 256, 512, 1024, 2048, 4096)],
    **{
        name: [
            {"recipe": "mini", "length": length, "batch": 8192 // length, "model": {"global_attention_every": every}}
            for length in (512, 1024, 2048, 4096, 8192)
        ]
        for name, every in (("alternating", 3), ("local", 1000))
    },
    "batch": [{"batch": batch} for batch in (8, 16, 32, 64, 128)],
    "network": [{"recipe": name, "batch": 16} for name in ("tiny", "mini", "small", "paper-small", "paper-base")],
    "vocabulary": [{"vocab_size": size} for size in (8_192, 30_522, 64_000, 120_000)],
}


def copy_rate() -> float:
    """Measure how many bytes a second are read and written together."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return 2 * 4 * source.numel() / min(seconds)


def measure(
    *,
    recipe: str = "paper-small",
    batch: int = 32,
    length: int = 128,
    vocab_size: int = 30_522,
    model: dict[str, int] | None = None,
) -> StepReport:
    overrides = {"model": NO_DROPOUT | (model or {})}
    return bench_step(recipe, overrides=overrides, batch=batch, length=length, vocab_size=vocab_size, rounds=2)


def floor_by_bytes(report: StepReport, rate: float, model: dict[str, int]) -> float:
    settings = report.settings
    longest = {"max_positions": max(512, settings["length"])}
    config = load_recipe(settings["recipe"], {"model": NO_DROPOUT | model | longest})
    tokenizer = made_up_tokenizer(settings["vocabulary"])
    discriminator = encoder_config(config.model, tokenizer)
    generator = generator_config(
        discriminator,
        hidden_ratio=config.model.generator_hidden_ratio,
        layer_ratio=config.model.generator_layer_ratio,
    )
    num_parameters = sum(one.numel() for one in build_rtd(config, tokenizer).parameters())
    tokens = report.num_tokens[0]
    return step_bytes(generator, discriminator, num_tokens=tokens, num_parameters=num_parameters) / rate


def main():
    axis = sys.argv[1] if len(sys.argv) > 1 else "length"
    if axis not in AXES:
        sys.exit(f"no axis {axis!r}; there are {', '.join(AXES)}")
    rate = copy_rate()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, copying {rate / 1e9:.0f} GB/s")
    print("| network | length | batch | vocabulary | tokens/s | ms a step | floor ms | bytes ms | share | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for sizes in AXES[axis]:
        report = measure(**sizes)
        ours, settings, tokens = report.measured[0], report.settings, report.num_tokens[0]
        floor = report.operations_per_token * tokens / report.product_rate.median
        cells = [
            " ".join([settings["recipe"], *(f"{name} = {value}" for name, value in sizes.get("model", {}).items())]),
            settings["length"],
            settings["batch"],
            f"{settings['vocabulary']:,}",
            f"{ours.rate.median:,.0f}",
            f"{1000 * tokens / ours.rate.median:,.0f}",
            f"{1000 * floor:,.0f}",
            f"{1000 * floor_by_bytes(report, rate, sizes.get('model', {})):,.0f}",
            f"{report.product_share.median:.0%}",
            f"{ours.peak_bytes / 1e6:,.0f}",
        ]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
