"""Open a published folder for one of its jobs, whatever its body."""

from pathlib import Path
from typing import TypeVar

from electrify.errors import CheckpointError
from electrify.models.causal_heads import CausalLM, ElectraForCausalLM, ModernBertDecoderForCausalLM
from electrify.models.checkpoint import load_model, read_config, saved_network
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import ElectraForMaskedLM, ElectraForPreTraining
from electrify.models.heads import Discriminator, Generator, Network
from electrify.models.modernbert_heads import ModernBertForMaskedLM, ModernBertForPreTraining
from electrify.models.published import describe_network
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5ForConditionalGeneration

_DETECTOR, _FILLER = "token detector", "masked language model"
_GIVE = {
    _DETECTOR: "a discriminator's folder, such as a run's discriminator/",
    _FILLER: "a network that fills in [MASK], such as a run's generator/ or encoder/",
}
N = TypeVar("N", bound=Network)


def load_discriminator(folder: Path) -> Discriminator:
    """Load a token detector.

    Raises:
        CheckpointError: If the folder holds no token detector.
    """
    _refuse_t5(folder, _DETECTOR)
    if isinstance(read_config(folder), ElectraConfig):
        return _load(folder, ElectraForPreTraining, _DETECTOR)
    return _load(folder, ModernBertForPreTraining, _DETECTOR)


def load_generator(folder: Path) -> Generator:
    """Load a masked language model.

    Raises:
        CheckpointError: If the folder holds no masked language model.
    """
    _refuse_t5(folder, _FILLER)
    if isinstance(read_config(folder), ElectraConfig):
        return _load(folder, ElectraForMaskedLM, _FILLER)
    return _load(folder, ModernBertForMaskedLM, _FILLER)


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


def _refuse_t5(folder: Path, job: str) -> None:
    """Raise CheckpointError if the folder holds a T5 network, which does other jobs."""
    if isinstance(read_config(folder), T5Config):
        raise CheckpointError(f"{folder}: holds a T5 network, which is no {job}. `electrify generate` asks it.")


def _load(folder: Path, network: type[N], job: str) -> N:
    """Load a network; if the folder says that it holds another kind, say so, and what to give instead."""
    try:
        return load_model(folder, network)
    except CheckpointError as problem:
        try:
            saved = saved_network(folder)
        except CheckpointError:
            raise problem from None
        if saved is network:
            raise
        holds = describe_network(saved)
        raise CheckpointError(f"{folder}: is no {job}, it holds {holds}. Give {_GIVE[job]}.") from None
