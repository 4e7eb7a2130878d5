"""ELECTRA pre-training with the package `electra-pytorch`, as its README shows it, around Transformers' networks."""

import contextlib

import numpy as np
import torch
from electra_pytorch import Electra
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

PACKAGES = {"torch": "torch", "transformers": "transformers", "electra_pytorch": "electra-pytorch"}
CONTENDERS = {"step": ("fp32", "bf16")}


class Logits(nn.Module):
    """The package passes ids and keyword arguments and wants logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids, **kwargs):
        logits = self.network(input_ids, **kwargs).logits
        return logits.unsqueeze(-1) if logits.dim() == 2 else logits


def build_step(work):
    if work["body"] != "electra":
        raise ValueError("measures ELECTRA bodies only")
    torch.manual_seed(0)
    flat = np.load(work["rows"])
    sequences = np.split(flat["ids"], np.cumsum(flat["lengths"])[:-1])

    generator = ElectraForMaskedLM(ElectraConfig(**work["generator"]))
    discriminator = ElectraForPreTraining(ElectraConfig(**work["discriminator"]))
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.tie_weights()
    trainer = Electra(
        Logits(generator),
        Logits(discriminator),
        num_tokens=work["vocab_size"],
        mask_token_id=work["mask_id"],
        pad_token_id=work["pad_id"],
        mask_prob=0.15,
        replace_prob=0.85,
        mask_ignore_token_ids=[token for token in work["special_ids"] if token != work["mask_id"]],
        disc_weight=50.0,
        gen_weight=1.0,
    )
    trainer.train()
    parameters = list({id(p): p for p in trainer.parameters()}.values())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    use_bf16 = work["variant"] == "bf16"

    def step(number):
        batch = sequences[number * work["batch"] : (number + 1) * work["batch"]]
        ids = [torch.from_numpy(sequence) for sequence in batch]
        input_ids = pad_sequence(ids, batch_first=True, padding_value=work["pad_id"])
        lengths = torch.tensor([len(sequence) for sequence in ids])
        attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        with torch.autocast("cpu", dtype=torch.bfloat16) if use_bf16 else contextlib.nullcontext():
            results = trainer(input_ids, attention_mask=attention_mask)
        optimizer.zero_grad()
        results.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return {"gen_loss": results.mlm_loss.item(), "disc_loss": results.disc_loss.item()}

    return step
