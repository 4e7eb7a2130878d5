"""Text to batches: reading, tokenizing, packing, shards and their order. Knows no network."""
