"""Tiny networks and rows for tests."""

from typing import Any

import torch

from electrify.config import MaskingConfig, ObjectiveConfig
from electrify.models.build import generator_config
from electrify.models.electra import ElectraConfig
from electrify.models.heads import build_discriminator, build_generator
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.noise import row_keys
from electrify.objectives.objective import AnyObjective
from electrify.objectives.rows import Masker
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.objectives.sharing import share_embeddings

PAD, UNK, CLS, SEP, MASK, VOCAB = 0, 1, 2, 3, 4, 60
ELECTRA = ElectraConfig(
    vocab_size=VOCAB, embedding_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=24, max_position_embeddings=32,
)  # fmt: skip
MODERNBERT = ModernBertConfig(
    vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=32, pad_token_id=PAD, local_attention=8,
)  # fmt: skip


def build(
    config: ElectraConfig | ModernBertConfig = ELECTRA,
    *,
    sharing: str = "none",
    hidden_ratio: float = 0.5,
    judges_all: bool = True,
    **objective: Any,
) -> ReplacedTokenDetection:
    torch.manual_seed(0)
    ratio = hidden_ratio if isinstance(config, ElectraConfig) else 1.0
    generator = build_generator(generator_config(config, hidden_ratio=ratio, layer_ratio=1.0))
    discriminator = build_discriminator(config)
    share_embeddings(generator, discriminator, sharing)
    return ReplacedTokenDetection(
        generator,
        discriminator,
        masker=masker(),
        objective=ObjectiveConfig.model_validate(objective),
        judges_all=judges_all,
    )


def masker(**settings: Any) -> Masker:
    config = MaskingConfig.model_validate({"mask_prob": 0.3, **settings})
    return Masker(config, special_ids=(PAD, UNK, CLS, SEP, MASK), mask_id=MASK, vocab_size=VOCAB)


def make_inputs(num_rows: int = 4, length: int = 16, *, num_padding: int = 0) -> Inputs:
    ids = torch.randint(5, VOCAB, (num_rows, length), generator=torch.Generator().manual_seed(3))
    ids[:, 0], ids[:, -1] = CLS, SEP
    padded = torch.cat([ids, torch.full((num_rows, num_padding), PAD)], dim=1)
    return Inputs(padded, attention_mask=(padded != PAD) if num_padding else None)


def run(rtd: AnyObjective, inputs: Inputs, *, step: int = 0) -> tuple[Any, Any]:
    rows = rtd.prepare(inputs, row_keys(0, step, torch.arange(len(inputs.input_ids))))
    return rows, rtd(rows, totals=rows.counts, with_figures=True)
