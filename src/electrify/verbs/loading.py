"""Open a published folder for one of its jobs, whatever its body."""

from collections.abc import Sequence
from pathlib import Path

from electrify.errors import CheckpointError
from electrify.models.checkpoint import load_model, read_config, saved_network
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
)
from electrify.models.heads import BodyConfig, Discriminator, Generator, SequenceClassifier
from electrify.models.modernbert_heads import (
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
    ModernBertForSequenceClassification,
)


def load_discriminator(folder: Path) -> Discriminator:
    """Load a token detector.

    Raises:
        CheckpointError: If the folder holds no token detector.
    """
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForPreTraining)
    return load_model(folder, ModernBertForPreTraining)


def load_generator(folder: Path) -> Generator:
    """Load a masked language model.

    Raises:
        CheckpointError: If the folder holds no masked language model.
    """
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForMaskedLM)
    return load_model(folder, ModernBertForMaskedLM)


def load_classifier(folder: Path, *, new_labels: Sequence[str] | None = None) -> SequenceClassifier:
    """Load a text classifier.

    Args:
        folder: A fine-tuned folder or, with `new_labels`, any encoder.
        new_labels: Labels of a new head; None loads the head of the folder.

    Raises:
        CheckpointError: If the folder has no such head and no new one is asked for.
    """
    is_new = new_labels is not None
    if not is_new and not issubclass(saved_network(folder), SequenceClassifier):  # other heads may have the same names
        raise CheckpointError(
            f"{folder}: holds {saved_network(folder).__name__}, not a text classifier. Make one of it with "
            "`electrify finetune`."
        )
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForSequenceClassification, new_head=is_new, labels=new_labels)
    return load_model(folder, ModernBertForSequenceClassification, new_head=is_new, labels=new_labels)


def new_classifier(config: BodyConfig, labels: Sequence[str]) -> SequenceClassifier:
    """Build a text classifier with random weights; drawn from torch's global generator."""
    if isinstance(config, ElectraConfig):
        return ElectraForSequenceClassification(config, labels=labels)
    return ModernBertForSequenceClassification(config, labels=labels)
