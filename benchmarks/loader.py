"""Time to choose and read the rows of one batch from a prepared folder: what the input pipeline costs a step.

python benchmarks/loader.py SHARDS --batch-size 32 256 4096
"""

import argparse
import statistics
import time

from electrify.data.loader import RowOrder
from electrify.data.shards import open_shards

BATCHES = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 256])
    options = parser.parse_args()
    shards = open_shards(options.shards)
    order = RowOrder(shards.num_rows("train"), seed=0)
    for batch_size in options.batch_size:
        milliseconds = []
        for step in range(BATCHES):
            started = time.perf_counter()
            rows = shards.rows("train", order.row_indices(step, batch_size))
            milliseconds.append(1000 * (time.perf_counter() - started))
        median, tokens = statistics.median(milliseconds), rows.input_ids.size
        spread = f"{min(milliseconds):.2f} to {max(milliseconds):.2f}"
        print(f"{batch_size:>5} rows  {median:7.2f} ms  ({spread})  {tokens / median / 1000:5.1f} million tokens/s")


if __name__ == "__main__":
    main()
