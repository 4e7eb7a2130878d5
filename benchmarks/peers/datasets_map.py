"""Raw text to token ids with `datasets` and Transformers' fast tokenizer, as Transformers' own examples do it.

"map" tokenizes rows that were loaded before the clock starts. "all" loads, tokenizes and groups into rows of equal
length, which is what `electrify prepare` does.
"""

import numpy as np
import xxhash
from datasets import disable_caching, load_dataset
from transformers import AutoTokenizer

PACKAGES = {"datasets": "datasets", "transformers": "transformers"}
CONTENDERS = {"prepare": ("map", "all")}


class Preparation:
    def __init__(self, work):
        disable_caching()
        self.tokenizer = AutoTokenizer.from_pretrained(work["tokenizer"])
        self.length = work["length"]
        self.variant = work["variant"]
        self.corpora = work["corpora"]
        self.cache = work["output"] + "/datasets-" + work["variant"]
        self.loads = 0
        self.loaded = [self.load(path) for path in self.corpora]

    def load(self, path):
        self.loads += 1
        return load_dataset("json", data_files=path, split="train", cache_dir=f"{self.cache}-{self.loads}")

    def tokenize(self, batch):
        return self.tokenizer(
            batch["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )

    def group(self, batch):
        joined = [token for ids in batch["input_ids"] for token in [*ids, self.tokenizer.sep_token_id]]
        size = self.length - 2
        cls, sep = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return {"input_ids": [[cls, *joined[i : i + size], sep] for i in range(0, len(joined), size)]}

    def __call__(self, number):
        rows = self.loaded[min(number, 1)] if self.variant == "map" else self.load(self.corpora[min(number, 1)])
        self.tokenized = rows.map(self.tokenize, batched=True, remove_columns=rows.column_names)
        if self.variant == "all":
            self.tokenized.map(self.group, batched=True, remove_columns=["input_ids"])

    def inspect(self):
        """Digest of all ids and of the documents' lengths, as electrify's."""
        column = self.tokenized.with_format("arrow")[:]["input_ids"].combine_chunks()
        ids = column.flatten().to_numpy(zero_copy_only=False).astype("<u4")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        state = xxhash.xxh3_128(ids.tobytes())
        state.update(np.ascontiguousarray(lengths[lengths > 0]).astype("<u4").tobytes())
        return state.hexdigest()


def build_prepare(work):
    return Preparation(work)
