"""Published folders: networks, tokenizer and a model card that says what ran."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electrify import __version__
from electrify.config import PretrainConfig
from electrify.data.shards import ShardFolder
from electrify.files import new_folder, write_manifest, write_text
from electrify.models.checkpoint import save_model
from electrify.models.electra import ElectraConfig
from electrify.models.heads import Network
from electrify.models.published import published_name
from electrify.objectives.objective import AnyObjective

if TYPE_CHECKING:
    from electrify.verbs.pretrain import PretrainReport

_USES = {
    "ElectraForPreTraining": ("AutoModelForPreTraining", "says for each token how likely it was replaced"),
    "ElectraForMaskedLM": ("AutoModelForMaskedLM", "fills in [MASK]"),
    "ModernBertForPreTraining": ("AutoModelForTokenClassification", "labels each token original or replaced"),
    "ElectraForCausalLM": ("AutoModelForCausalLM", "continues a text"),
    "ModernBertDecoderForCausalLM": ("AutoModelForCausalLM", "continues a text"),
    "ModernBertForMaskedLM": ("AutoModelForMaskedLM", "fills in [MASK]"),
    "T5ForConditionalGeneration": ("AutoModelForSeq2SeqLM", "writes what belongs at <extra_id_0>, <extra_id_1>, …"),
}


def publish_networks(
    objective: AnyObjective,
    config: PretrainConfig,
    report: "PretrainReport",
    shards: ShardFolder,
    folder: Path,
) -> None:
    """Write the networks of an objective into a run's folder, each into one of its own, complete or not there.

    Args:
        objective: With the trained networks.
        config: What was asked for.
        report: What came of it.
        shards: What it was trained on.
        folder: The run's folder.
    """
    tokenizer, networks = shards.tokenizer().with_special_tokens(objective.special_tokens), objective.networks()
    for role, network in networks.items():
        others = [other for other in networks if other != role]
        own_parts = network.config.own_parts
        card = _model_card(role, type(network), own_parts, objective.title, others, config, report, shards)
        ours = {
            "version": __version__,
            "role": role,
            "steps": report.steps,
            "tokens": report.tokens,
            "seed": config.seed,
        }
        with new_folder(folder / role) as temporary:
            save_model(network, temporary, electrify=ours)
            tokenizer.save(
                temporary,
                max_length=config.model.max_positions,
                has_token_types=isinstance(network.config, ElectraConfig),
            )
            write_text(temporary / "README.md", card)
            write_manifest(temporary, leave_out=["README.md"])


def _model_card(
    role: str,
    network: type[Network],
    own_parts: Sequence[str],
    objective: str,
    others: list[str],
    config: PretrainConfig,
    report: "PretrainReport",
    shards: ShardFolder,
) -> str:
    auto_class, what_it_does = _USES[network.__name__]
    if role == "scorer":
        what_it_does = "gives each token an energy, its logit of being replaced: minus log of its probability"
    counts = shards.manifest["train"]
    data = {
        "documents": f"{counts['num_documents']:,}",
        "tokens": f"{counts['num_tokens']:,}",
        "rows": f"{counts['num_rows']:,}",
        "longest row": shards.max_length,
        "vocabulary": f"{shards.tokenizer().vocab_size:,}",
        "digest": shards.digest,
    }
    ran = {
        "steps": f"{report.steps:,}",
        "tokens seen": f"{report.tokens:,}",
        "minutes": f"{report.seconds / 60:.1f}",
        "tokens a second": f"{report.tokens_per_s:,.0f}",
    }
    results = {key: f"{value:.4f}" for key, value in report.validation.items()}
    example = f"""```python
from transformers import {auto_class}, AutoTokenizer

model = {auto_class}.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")
```"""
    if own_parts:
        named = ", ".join(own_parts)
        example = f"Its body has parts that no published class has ({named}), so it opens with electrify alone."
    return f"""---
library_name: {"electrify" if own_parts else "transformers"}
tags: [electrify, {objective.replace(" ", "-")}, {"t5" if network.__name__.startswith("T5") else config.model.body}]
---

# {role.replace("_", "-").capitalize()} trained by {objective}

`{published_name(network)}`: {what_it_does}. Trained with electrify {__version__}{
        f", together with its {' and '.join(others)}" if others else ""
    }.

{example}

## Data

{_table(data)}

## Run

{_table(ran)}

## Held-out results

{_table(results) if results else "No validation part."}
{f"{chr(10)}**Warning.** At the end {report.warning}" if report.warning else ""}

## Settings

{_table(_flat(config.model_dump(exclude={"data", "logging", "checkpoint", "evaluation"})))}
"""


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
