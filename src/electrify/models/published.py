"""The networks there are, and what they are called in the `config.json` of a published folder."""

from pathlib import Path
from typing import Any

from electrify.errors import CheckpointError, ConfigError, did_you_mean
from electrify.models.causal_heads import ElectraForCausalLM, ModernBertDecoderForCausalLM
from electrify.models.choice_heads import ElectraForMultipleChoice, ModernBertForMultipleChoice
from electrify.models.config_json import config_to_dict
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from electrify.models.heads import AnyConfig, Network
from electrify.models.intent_heads import ElectraForIntentAndSlots, ModernBertForIntentAndSlots
from electrify.models.labels import REPLACED_TOKEN_LABELS
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import (
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)
from electrify.models.question_heads import (
    ElectraForJointQuestionAnswering,
    ElectraForQuestionAnswering,
    ModernBertForJointQuestionAnswering,
    ModernBertForQuestionAnswering,
)
from electrify.models.t5 import T5EncoderModel
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import (
    T5EncoderForSequenceClassification,
    T5ForConditionalGeneration,
    T5ForTokenClassification,
)

NETWORKS: dict[str, type[Network]] = {
    network.__name__: network
    for network in (
        ElectraModel,
        ElectraForMaskedLM,
        ElectraForCausalLM,
        ElectraForPreTraining,
        ElectraForSequenceClassification,
        ElectraForTokenClassification,
        ElectraForQuestionAnswering,
        ElectraForJointQuestionAnswering,
        ElectraForMultipleChoice,
        ElectraForIntentAndSlots,
        ModernBertModel,
        ModernBertForMaskedLM,
        ModernBertDecoderForCausalLM,
        ModernBertForPreTraining,
        ModernBertForSequenceClassification,
        ModernBertForTokenClassification,
        ModernBertForQuestionAnswering,
        ModernBertForJointQuestionAnswering,
        ModernBertForMultipleChoice,
        ModernBertForIntentAndSlots,
        T5EncoderModel,
        T5ForConditionalGeneration,
        T5ForTokenClassification,
        T5EncoderForSequenceClassification,
    )
}
CLASSIFIERS = (
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ElectraForIntentAndSlots,
    ModernBertForIntentAndSlots,
    T5ForTokenClassification,
    T5EncoderForSequenceClassification,
)
CAUSAL = (ElectraForCausalLM, ModernBertDecoderForCausalLM)
PREFIXES: dict[type[AnyConfig], str] = {
    ElectraConfig: "electra.",
    ModernBertConfig: "model.",
    T5Config: "transformer.",
}
"""What stands before the names of a body's parameters in a network with a head."""
_PUBLISHED_AS = {"ModernBertForPreTraining": "ModernBertForTokenClassification"}
"""Class names in `architectures`, where they differ from ours."""


def network_named(name: str) -> type[Network]:
    """Return the class of this name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in NETWORKS:
        raise ConfigError(f"network: none is called '{name}'.{did_you_mean(name, NETWORKS)}")
    return NETWORKS[name]


def published_name(network: type[Network]) -> str:
    """Return the class name that stands in `architectures` and that Transformers knows."""
    return _PUBLISHED_AS.get(network.__name__, network.__name__)


def describe_network(network: type[Network]) -> str:
    """Return what messages call a network: its published class, and what tells it from others of that class."""
    name = published_name(network)
    return name if name == network.__name__ else f"{name} with the labels {' and '.join(REPLACED_TOKEN_LABELS)}"


def settings_of(model: Network, electrify: dict[str, Any] | None) -> dict[str, Any]:
    """Return what stands in a network's `config.json`, with what is to be kept of our own."""
    body = config_to_dict(model.config, is_decoder=isinstance(model, CAUSAL))
    settings = {"architectures": [published_name(type(model))], **body, "dtype": "float32"}
    labels = getattr(model, "labels", None)
    if labels is not None:
        settings["id2label"] = {str(index): label for index, label in enumerate(labels)}
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    if electrify is not None:
        settings["electrify"] = electrify
    return settings


def saved_labels(settings: dict[str, Any], *, path: Path) -> tuple[str, ...]:
    """Read the names of the classes; a folder without them means two, as in Transformers.

    Raises:
        CheckpointError: If they are not numbered from 0 without a gap, or no words.
    """
    names = settings.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    if not isinstance(names, dict) or sorted(names) != sorted(str(index) for index in range(len(names))):
        raise CheckpointError(f"{path}: id2label must name the classes '0', '1', … without a gap, got {names!r}.")
    labels = [names[str(index)] for index in range(len(names))]
    if not all(isinstance(label, str | int) for label in labels):
        raise CheckpointError(f"{path}: id2label must name the classes by words, got {labels!r}.")
    return tuple(str(label) for label in labels)
