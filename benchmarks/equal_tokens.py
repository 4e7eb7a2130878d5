"""How much more a token of a pair looks at its equal in the other text than at an even spread, by layer and head.

    python benchmarks/equal_tokens.py stsb/dev.jsonl.gz RUN/discriminator [ANOTHER …] [--pairs 200]

Pairs are rows with "text_a" and "text_b"; those that share no token are left out, counted. 1 is an even spread;
tokens that are in both texts count, special ones do not. Attention is Transformers', as our kernels do not keep it.
"""

import argparse
import gzip
import json
from pathlib import Path

import torch
import transformers


def looks(folder: Path, pairs: list[tuple[str, str]]) -> tuple[torch.Tensor, int]:
    """Return the mean over the pairs that share a token, (layers, heads), and how many they are."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    found = []
    for first, second in pairs:
        encoded = tokenizer(first, second, return_tensors="pt", truncation=True)
        ids = encoded["input_ids"][0]
        ends = (ids == tokenizer.sep_token_id).nonzero()[:, 0].tolist()
        equal = ids[1 : ends[0], None] == ids[None, ends[0] + 1 : ends[1]]
        rows, columns = equal.nonzero().T
        if len(rows):
            with torch.no_grad():
                layers = model(**encoded, output_attentions=True).attentions
            looked = [layer[0][:, rows + 1, columns + ends[0] + 1].mean(1) for layer in layers]
            found.append(torch.stack(looked) * len(ids))
    return torch.stack(found).mean(0), len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    with gzip.open(options.rows, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][: options.pairs]
    pairs = [(row["text_a"], row["text_b"]) for row in rows]
    print("| network | pairs | highest head, by layer | mean of the heads, by layer |\n|---|---|---|---|")
    for folder in options.folders:
        by_head, num_pairs = looks(folder, pairs)
        count = f"{num_pairs} of {len(pairs)}"
        highest, mean = by_head.max(1).values.tolist(), by_head.mean(1).tolist()
        print(
            f"| {folder} | {count} | {', '.join(f'{x:.1f}' for x in highest)} | {', '.join(f'{x:.1f}' for x in mean)} |"
        )


if __name__ == "__main__":
    main()
