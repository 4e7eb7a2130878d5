"""Fail if the training step is not as much faster than a hand-written loop as it has to be.

    python benchmarks/floor.py

Two short benches of ELECTRA-Small, the sides in turn; the median of the ratios counts. About a minute on two cores.
"""

import sys
from pathlib import Path

from electrify.bench.step import bench_step
from electrify.bench.table import side_lines

PEERS = Path(__file__).parent / "peers"
FLOORS = (("dense", "transformers_loop bf16", 1.5), ("natural", "transformers_loop fp32", 3.0))


def main():
    is_slow = False
    for rows, peer, floor in FLOORS:
        report = bench_step("paper-small", rows=rows, batch=16, rounds=5, peers=PEERS, only=[peer])
        print(f"ELECTRA-Small, {rows} rows of up to 128 tokens, batch 16, {report.measured[0].threads} threads")
        print(*side_lines(report.measured, report.missing, unit="real tokens/s"), sep="\n")
        ratio = next((side.ratio.median for side in report.measured if side.name == peer), None)
        if ratio is None:
            sys.exit(f"{peer} could not be measured")
        print(f"{ratio:.2f} times {peer}; it has to be {floor} at least\n")
        is_slow |= ratio < floor
    sys.exit(1 if is_slow else 0)


if __name__ == "__main__":
    main()
