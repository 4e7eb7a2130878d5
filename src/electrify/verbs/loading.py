"""Open a published folder for one of its jobs, whatever its body."""

from pathlib import Path

from electrify.models.causal_heads import CausalLM, ElectraForCausalLM, ModernBertDecoderForCausalLM
from electrify.models.checkpoint import load_model, read_config
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForMaskedLM, ElectraForPreTraining
from electrify.models.heads import Discriminator, Generator
from electrify.models.modernbert_heads import ModernBertForMaskedLM, ModernBertForPreTraining


def load_discriminator(folder: Path) -> Discriminator:
    """Load a token detector.

    Raises:
        CheckpointError: If the folder holds no token detector.
    """
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForPreTraining)
    return load_model(folder, ModernBertForPreTraining)


def load_decoder(folder: Path) -> CausalLM:
    """Load a network that continues a text.

    Raises:
        CheckpointError: If the folder holds no causal language model.
    """
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForCausalLM)
    return load_model(folder, ModernBertDecoderForCausalLM)


def load_generator(folder: Path) -> Generator:
    """Load a masked language model.

    Raises:
        CheckpointError: If the folder holds no masked language model.
    """
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForMaskedLM)
    return load_model(folder, ModernBertForMaskedLM)
