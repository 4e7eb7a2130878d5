"""Fail if the training step is not as much faster than a hand-written loop as it has to be.

    python benchmarks/floor.py

Two short benches of ELECTRA-Small, the sides in turn; the median of the ratios counts. About two minutes on two cores.
"""

import sys
from pathlib import Path

from electrify import kernels
from electrify.bench.step import bench_step
from electrify.bench.table import side_lines

PEERS = Path(__file__).parent / "peers"
FLOORS = (
    ("dense", {"transformers_loop bf16": 2.2}),
    ("natural", {"transformers_loop fp32": 6.0, "transformers_loop bf16": 3.5}),
)
PLAIN_FLOOR = 1.0  # where the compiled kernels can not run: no slower than the loop


def main():
    is_slow = False
    for rows, floors in FLOORS:
        report = bench_step("paper-small", rows=rows, batch=16, rounds=9, peers=PEERS, only=list(floors))
        print(f"ELECTRA-Small, {rows} rows of up to 128 tokens, batch 16, {report.measured[0].threads} threads")
        print(*side_lines(report.measured, report.missing, unit="real tokens/s"), sep="\n")
        ratios = {side.name: side.ratio.median for side in report.measured if side.ratio is not None}
        for peer, floor in floors.items():
            if peer not in ratios:
                sys.exit(f"{peer} could not be measured")
            needed = floor if kernels.is_enabled() else PLAIN_FLOOR
            print(f"{ratios[peer]:.2f} times {peer}; it has to be {needed} at least")
            is_slow |= ratios[peer] < needed
        print()
    sys.exit(1 if is_slow else 0)


if __name__ == "__main__":
    main()
