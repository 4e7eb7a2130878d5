"""The network that a task's head asks for, on any body, from a folder or with new values."""

from pathlib import Path
from typing import Any, Literal

import torch

from electrify.errors import CheckpointError, ConfigError
from electrify.models.checkpoint import load_model, read_config, saved_network
from electrify.models.choice_heads import ElectraForMultipleChoice, ModernBertForMultipleChoice
from electrify.models.dropout import Dropout
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForSequenceClassification, ElectraForTokenClassification
from electrify.models.heads import AnyConfig, TaskNetwork
from electrify.models.intent_heads import ElectraForIntentAndSlots, ModernBertForIntentAndSlots
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertForSequenceClassification, ModernBertForTokenClassification
from electrify.models.published import describe_network
from electrify.models.question_heads import (
    ElectraForJointQuestionAnswering,
    ElectraForQuestionAnswering,
    ModernBertForJointQuestionAnswering,
    ModernBertForQuestionAnswering,
)
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5EncoderForSequenceClassification, T5ForTokenClassification
from electrify.tasks.task import Head, Task

_NETWORKS: dict[type[AnyConfig], dict[Head, Any]] = {
    ElectraConfig: {
        "sequence": ElectraForSequenceClassification,
        "first_token": ElectraForTokenClassification,
        "tokens": ElectraForTokenClassification,
        "question": ElectraForQuestionAnswering,
        "joint_question": ElectraForJointQuestionAnswering,
        "choice": ElectraForMultipleChoice,
        "intent_slots": ElectraForIntentAndSlots,
    },
    ModernBertConfig: {
        "sequence": ModernBertForSequenceClassification,
        "first_token": ModernBertForTokenClassification,
        "tokens": ModernBertForTokenClassification,
        "question": ModernBertForQuestionAnswering,
        "joint_question": ModernBertForJointQuestionAnswering,
        "choice": ModernBertForMultipleChoice,
        "intent_slots": ModernBertForIntentAndSlots,
    },
    T5Config: {
        "sequence": T5EncoderForSequenceClassification,
        "first_token": T5ForTokenClassification,
        "tokens": T5ForTokenClassification,
    },
}
Init = Literal["pretrained", "random"]


def new_network(folder: Path, task: Task, *, init: Init, seed: int, dropout: float) -> TaskNetwork:
    """Build a task's network with a new head.

    Args:
        folder: A published folder of any network with a body that is built here; a fine-tuned one too, which makes a
            chain of tasks (intermediate training: Phang et al. 2018).
        task: What it is for.
        init: Whether the body keeps the folder's weights or is drawn anew.
        seed: Of the new values; torch's own state is left alone.
        dropout: Share that is dropped everywhere.

    Raises:
        ConfigError: If the folder's body has no such head.
    """
    config = read_config(folder)
    network_type = _type(config, task.head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if init == "random":
            network: TaskNetwork = network_type(config, labels=task.labels) if task.labels else network_type(config)
        else:
            network = load_model(folder, network_type, new_head=True, labels=task.labels or None)
    return with_dropout(network, dropout)


def share_body(networks: list[TaskNetwork]) -> None:
    """Make all networks use the body of the first."""
    name = next(name for name in ("electra", "model", "transformer") if hasattr(networks[0], name))
    for network in networks[1:]:
        setattr(network, name, networks[0].body)


def with_dropout(network: TaskNetwork, dropout: float) -> TaskNetwork:
    """Set the share that every place of a network drops, and return the network."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = dropout
    return network


def load_network(folder: Path, head: Head, *, job: str) -> TaskNetwork:
    """Load a fine-tuned network.

    Args:
        folder: Its folder.
        head: What it should be.
        job: What a user calls it, for the message.

    Raises:
        CheckpointError: If the folder holds another network.
    """
    network_type: type[TaskNetwork] = _type(read_config(folder), head)
    saved = saved_network(folder)
    if saved is not network_type:  # other heads may have the same names
        raise CheckpointError(
            f"{folder}: holds {describe_network(saved)}, not a network for {job}. "
            "Make one of it with `electrify finetune`."
        )
    return load_model(folder, network_type)


def _type(config: AnyConfig, head: Head) -> Any:
    heads = _NETWORKS[type(config)]
    if head not in heads:
        raise ConfigError(
            f"a T5 encoder has no head for {head.replace('_', ' ')} here; it is fine-tuned for classification, "
            "multilabel, regression, ranking and tagging."
        )
    return heads[head]
