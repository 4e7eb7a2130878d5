"""How alike are the vectors that encoders make of unlike sentences, and do they say how similar two sentences are?

    python benchmarks/row_vectors.py runs/plain/discriminator runs/contrastive/discriminator --pairs stsb/dev.jsonl.gz

Opens each folder in Transformers, takes the mean of the last hidden states over real tokens as a sentence's vector, and
prints the mean cosine between vectors of different sentences, and Spearman's correlation of the cosine of a pair with
its score; nothing is fine-tuned. Pairs are lines with `text_a`, `text_b` and `score`.
"""

import argparse
import gzip
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, logging

_SENTENCES_AT_ONCE = 64


def read(path: Path) -> tuple[list[str], list[str], list[float]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in content.splitlines()]
    return [row["text_a"] for row in rows], [row["text_b"] for row in rows], [row["score"] for row in rows]


@torch.no_grad()
def vectors(folder: str, texts: list[str]) -> Tensor:
    """One vector of length 1 a text, (N, H)."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(texts), _SENTENCES_AT_ONCE):
        some = tokenizer(texts[start : start + _SENTENCES_AT_ONCE], padding=True, truncation=True, return_tensors="pt")
        hidden = network(input_ids=some["input_ids"], attention_mask=some["attention_mask"]).last_hidden_state
        is_real = some["attention_mask"][:, :, None].float()
        found.append(F.normalize((hidden * is_real).sum(1) / is_real.sum(1), dim=-1))
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pairs", type=Path, required=True)
    options = parser.parse_args()
    logging.set_verbosity_error()
    first, second, scores = read(options.pairs)
    for model in options.models:
        a, b = vectors(model, first), vectors(model, second)
        between = (a.sum(0).square().sum() - len(a)) / (len(a) * (len(a) - 1))
        correlation = spearmanr((a * b).sum(-1).numpy(), scores).statistic
        print(f"{model}: mean cosine {float(between):.3f}, Spearman {100 * correlation:.1f} ({len(a):,} pairs)")


if __name__ == "__main__":
    main()
