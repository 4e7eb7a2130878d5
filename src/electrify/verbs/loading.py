"""Open a published folder for one of its jobs, whatever its body."""

from pathlib import Path

from electrify.errors import CheckpointError
from electrify.models.causal_heads import CausalLM, ElectraForCausalLM, ModernBertDecoderForCausalLM
from electrify.models.checkpoint import load_model, read_config
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForMaskedLM, ElectraForPreTraining
from electrify.models.heads import Discriminator, Generator
from electrify.models.modernbert_heads import ModernBertForMaskedLM, ModernBertForPreTraining
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5ForConditionalGeneration


def _refuse_t5(folder: Path, job: str) -> None:
    """Raise CheckpointError if the folder holds a T5 network, which does other jobs."""
    if isinstance(read_config(folder), T5Config):
        raise CheckpointError(f"{folder}: holds a T5 network, which is no {job}. `electrify generate` asks it.")


def load_discriminator(folder: Path) -> Discriminator:
    """Load a token detector.

    Raises:
        CheckpointError: If the folder holds no token detector.
    """
    _refuse_t5(folder, "token detector")
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForPreTraining)
    return load_model(folder, ModernBertForPreTraining)


def load_writer(folder: Path) -> CausalLM | T5ForConditionalGeneration:
    """Load a network that continues a text, or one that writes an answer to it.

    Raises:
        CheckpointError: If the folder holds neither a causal language model nor an encoder-decoder.
    """
    config = read_config(folder)
    if isinstance(config, T5Config):
        return load_model(folder, T5ForConditionalGeneration)
    if isinstance(config, ElectraConfig):
        return load_model(folder, ElectraForCausalLM)
    return load_model(folder, ModernBertDecoderForCausalLM)


def load_generator(folder: Path) -> Generator:
    """Load a masked language model.

    Raises:
        CheckpointError: If the folder holds no masked language model.
    """
    _refuse_t5(folder, "masked language model")
    if isinstance(read_config(folder), ElectraConfig):
        return load_model(folder, ElectraForMaskedLM)
    return load_model(folder, ModernBertForMaskedLM)
