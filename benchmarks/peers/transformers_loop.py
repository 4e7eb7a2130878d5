"""ELECTRA pre-training as people write it with Transformers: two models, one joint loss, one loop.

Embeddings are tied, 15 % of the tokens are masked one by one at random as a data collator does, the generator scores
the vocabulary at every position, its tokens are drawn by adding Gumbel noise. "kept" also makes glibc keep large
buffers, as electrify does and as few people do.
"""

import contextlib
import ctypes

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

PACKAGES = {"torch": "torch", "transformers": "transformers"}
CONTENDERS = {"step": ("fp32", "bf16", "bf16 kept")}


def collate(sequences, pad_id):
    """Pad to the longest sequence of the batch."""
    ids = [torch.from_numpy(sequence) for sequence in sequences]
    input_ids = pad_sequence(ids, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(sequence) for sequence in ids])
    attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
    return input_ids, attention_mask


def mask_tokens(input_ids, special_ids, mask_id, mask_prob=0.15):
    """Choose tokens and hide 85 % of them."""
    probabilities = torch.full(input_ids.shape, mask_prob)
    probabilities.masked_fill_(torch.isin(input_ids, special_ids), 0.0)
    is_masked = torch.bernoulli(probabilities).bool()
    labels = torch.where(is_masked, input_ids, -100)
    is_hidden = torch.bernoulli(torch.full(input_ids.shape, 0.85)).bool() & is_masked
    return torch.where(is_hidden, mask_id, input_ids), is_masked, labels


def sample(logits):
    """Draw from the softmax by adding Gumbel noise."""
    noise = -torch.log(-torch.log(torch.rand_like(logits) + 1e-9) + 1e-9)
    return (logits + noise).argmax(-1)


def build_step(work):
    if work["body"] != "electra":
        raise ValueError("measures ELECTRA bodies only")
    torch.manual_seed(0)
    flat = np.load(work["rows"])
    sequences = np.split(flat["ids"], np.cumsum(flat["lengths"])[:-1])
    special_ids = torch.tensor(work["special_ids"])

    generator = ElectraForMaskedLM(ElectraConfig(**work["generator"]))
    discriminator = ElectraForPreTraining(ElectraConfig(**work["discriminator"]))
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.tie_weights()
    generator.train()
    discriminator.train()
    parameters = list({id(p): p for p in [*generator.parameters(), *discriminator.parameters()]}.values())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    use_bf16 = work["variant"].startswith("bf16")
    if work["variant"].endswith("kept"):
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD

    def step(number):
        batch = sequences[number * work["batch"] : (number + 1) * work["batch"]]
        input_ids, attention_mask = collate(batch, work["pad_id"])
        masked_ids, is_masked, labels = mask_tokens(input_ids, special_ids, work["mask_id"])
        with torch.autocast("cpu", dtype=torch.bfloat16) if use_bf16 else contextlib.nullcontext():
            gen_output = generator(input_ids=masked_ids, attention_mask=attention_mask, labels=labels)
            with torch.no_grad():
                sampled_ids = sample(gen_output.logits[is_masked].float())
            corrupted_ids = input_ids.clone()
            corrupted_ids[is_masked] = sampled_ids
            is_replaced = corrupted_ids != input_ids
            disc_logits = discriminator(input_ids=corrupted_ids, attention_mask=attention_mask).logits
        is_real = attention_mask.bool()
        disc_loss = F.binary_cross_entropy_with_logits(disc_logits[is_real].float(), is_replaced[is_real].float())
        loss = gen_output.loss + 50.0 * disc_loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return {"gen_loss": gen_output.loss.item(), "disc_loss": disc_loss.item()}

    return step
