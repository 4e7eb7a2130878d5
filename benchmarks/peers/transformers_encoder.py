"""An encoder's forward pass with Transformers, as its users write it: pad the batch, no gradients."""

import contextlib

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForPreTraining

PACKAGES = {"torch": "torch", "transformers": "transformers"}
CONTENDERS = {"infer": ("fp32", "bf16")}


def build_infer(work):
    flat = np.load(work["rows"])
    sequences = np.split(flat["ids"], np.cumsum(flat["lengths"])[:-1])
    model = AutoModelForPreTraining.from_pretrained(work["model"]).eval()
    use_bf16 = work["variant"] == "bf16"

    @torch.no_grad()
    def infer(number):
        batch = sequences[number * work["batch"] : (number + 1) * work["batch"]]
        ids = [torch.from_numpy(sequence) for sequence in batch]
        input_ids = pad_sequence(ids, batch_first=True, padding_value=work["pad_id"])
        lengths = torch.tensor([len(sequence) for sequence in ids])
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        with torch.autocast("cpu", dtype=torch.bfloat16) if use_bf16 else contextlib.nullcontext():
            logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits.float()[attention_mask.bool()].mean().item()

    return infer
