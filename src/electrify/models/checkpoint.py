"""Published model folders: what Transformers writes opens here, what is written here opens there.

A folder holds `config.json` and `model.safetensors` (or its shards). Tensors have the published names, which are the
names inside our networks, so nothing is renamed but in ModernBERT's decoder (`models.decoder_names`); only the body's
prefix ("electra.", "model.") is put on or taken off where a bare body meets a network with a head. What is ours inside
`config.json` lies under one key, "electrify".
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import torch

from electrify.errors import CheckpointError, did_you_mean
from electrify.files import MANIFEST, write_json
from electrify.models.causal_heads import ModernBertDecoderForCausalLM
from electrify.models.choice_heads import ElectraForMultipleChoice
from electrify.models.config_json import (
    CONFIG_FILE,
    check_summary,
    config_from_dict,
    is_causal,
    is_decoder,
    read_config,
    read_settings,
)
from electrify.models.decoder_names import decoder_tensors
from electrify.models.heads import AnyConfig, Body, Network, body_of
from electrify.models.hub import resolve_folder
from electrify.models.labels import REPLACED_TOKEN_LABELS
from electrify.models.matching import listed, match_tensors
from electrify.models.modernbert_heads import ModernBertForPreTraining
from electrify.models.published import CAUSAL, CLASSIFIERS, NETWORKS, PREFIXES, network_named, saved_labels, settings_of
from electrify.models.t5_config import T5Config
from electrify.models.t5_names import OUTPUT, stored_for
from electrify.models.weights import StoredTensor, read_headers, read_tensors, write_tensors

__all__ = ["load_model", "read_config", "resolve_folder", "save_model", "saved_network"]

_log = logging.getLogger(__name__)
N = TypeVar("N", bound=Network)


def saved_network(folder: str | Path) -> type[Network]:
    """Return the class of the network that a folder says it holds.

    Raises:
        CheckpointError: If `config.json` is missing or broken, or names no network that is built here.
    """
    path = Path(folder) / CONFIG_FILE
    settings = read_settings(path)
    names = settings.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise CheckpointError(f"{path}: architectures must name one network, got {names!r}.")
    if names[0] not in NETWORKS:
        raise CheckpointError(f"{path}: architectures names '{names[0]}'.{did_you_mean(names[0], NETWORKS)}")
    if names[0] == "ModernBertForTokenClassification" and saved_labels(settings, path=path) == REPLACED_TOKEN_LABELS:
        return ModernBertForPreTraining
    return NETWORKS[names[0]]


def save_model(
    model: Network,
    folder: str | Path,
    *,
    electrify: dict[str, Any] | None = None,
    problem_type: str | None = None,
) -> None:
    """Write `config.json` and `model.safetensors` (float32) as Transformers reads them.

    Each file is written in one step; for a folder that is complete or not there, use `files.new_folder` around it.

    Args:
        model: The bare network, unwrapped.
        folder: Made if it does not exist; other files in it are left alone.
        electrify: What to keep of our own, JSON-able; stands under the key "electrify".
        problem_type: What a classifier's scores mean, as Transformers calls it ("regression", …); its pipelines read
        it.

    Raises:
        CheckpointError: If the network's parameters are not the published ones, as when its embeddings were replaced
            by something else.
    """
    folder = Path(folder)
    tensors = model.state_dict()
    expected = _build(type(model), model.config, labels=getattr(model, "labels", None)).state_dict()
    differing = sorted(tensors.keys() ^ expected.keys())
    if differing:
        raise CheckpointError(
            f"{folder}: not written, the parameters are not the published ones ({listed(differing)}). "
            "Put plain layers back into the network first."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # it describes what was there before
    if isinstance(model, ModernBertDecoderForCausalLM):
        tensors = {name: tensor.clone() for name, tensor in decoder_tensors(tensors).items()}
    write_tensors(tensors, folder)
    settings = settings_of(model, electrify)
    write_json(folder / CONFIG_FILE, settings | ({"problem_type": problem_type} if problem_type else {}))


@overload
def load_model(
    folder: str | Path,
    network: type[N],
    *,
    new_head: bool = False,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
) -> N: ...


@overload
def load_model(
    folder: str | Path,
    network: str,
    *,
    new_head: bool = False,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
) -> Network: ...


def load_model(
    folder: str | Path,
    network: type[Any] | str,
    *,
    new_head: bool = False,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
) -> Any:
    """Open a published folder of an ELECTRA, ModernBERT or T5 network.

    Names, shapes and types are compared with what the config asks for before any parameter is allocated.

    Args:
        folder: Where `config.json` and the safetensors file or files lie.
        network: Which network to build, or its class name. A bare body opens from any network's folder.
        new_head: Take only the body from the folder and give the head new first values, from torch's global generator.
            Means nothing for a bare body.
        num_labels: Of a classifier; None means what `labels` or else the folder says.
        labels: Names of a classifier's classes; None means the folder's, or LABEL_0, … if `num_labels` is given.

    Returns:
        The network on the CPU, in float32.

    Raises:
        CheckpointError: If the folder is broken, its tensors are missing, superfluous, of other shapes, not finite
            numbers with a fraction, or stored as pickles.
        ConfigError: If the class name is unknown, or the labels contradict themselves.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    settings = read_settings(path)
    config = config_from_dict(settings, path=path)
    network_type: type[Network] = network_named(network) if isinstance(network, str) else network
    if network_type in CLASSIFIERS and num_labels is None and labels is None:
        labels = saved_labels(settings, path=path)
    if network_type is ModernBertForPreTraining and not new_head:
        _check_is_discriminator(settings, path=path)
    if network_type is ElectraForMultipleChoice and not new_head:
        check_summary(settings, path=path)
    is_bare = issubclass(network_type, Body)
    if not (is_bare or new_head) and is_causal(settings) != (network_type in CAUSAL):
        raise CheckpointError(
            f"{path}: holds {' and '.join(map(str, settings.get('architectures') or ['a network']))}, which does not "
            f"open as {network_type.__name__}: one reads from left to right, the other does not."
        )
    stored = read_headers(folder)
    if isinstance(config, T5Config):
        stored = stored_for(network_type, stored)
        if not config.scale_decoder_outputs:  # the file says whether the output matrix is one of its own
            config = dataclasses.replace(config, tie_word_embeddings=OUTPUT not in stored)
    model = _build(network_type, config, num_labels=num_labels, labels=labels)
    has_decoder_names = is_decoder(settings)
    expected = decoder_tensors(model.state_dict()) if has_decoder_names else model.state_dict()
    matched = match_tensors(
        stored,
        {name: tuple(tensor.shape) for name, tensor in expected.items()},
        prefix=PREFIXES[type(config)],
        is_bare_body=is_bare,
        new_head=new_head,
        folder=folder,
    )
    _fill(model, matched, has_decoder_names=has_decoder_names)
    if new_head and not isinstance(model, Body):
        model.reset_head()
        _log.info("%s: the head of %s is new", folder, network_type.__name__)
    return model


def _build(
    network: type[Network],
    config: AnyConfig,
    *,
    num_labels: int | None = None,
    labels: Sequence[str] | None = None,
) -> Network:
    """Build a network whose parameters have shapes and no values, which takes no memory and no random numbers."""
    wanted = type(config).__name__.removesuffix("Config")
    if not network.__name__.startswith(wanted):
        raise CheckpointError(
            f"The folder holds a network of type {wanted}, which does not open as {network.__name__}."
        )
    make: Callable[..., Network] = network
    with torch.device("meta"):
        if network in CLASSIFIERS:
            return make(config, num_labels=num_labels, labels=labels)
        return make(config)


@torch.no_grad()
def _fill(model: Network, matched: dict[str, StoredTensor], *, has_decoder_names: bool) -> None:
    """Allocate the parameters and copy the stored tensors into them."""
    model.to_empty(device="cpu")
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    if has_decoder_names:
        parameters = decoder_tensors(parameters)  # views
    copies = {}
    for name, tensor in read_tensors(matched):
        values = tensor.float()
        if not torch.isfinite(values).all():
            raise CheckpointError(f"{matched[name].path}: tensor '{name}' holds values that are not finite in float32.")
        if name in parameters:
            parameters[name].copy_(values)
        else:
            copies[name] = values
    body = body_of(model)
    for name, tensor in copies.items():
        if not torch.equal(tensor, body.word_embeddings.weight):
            raise CheckpointError(
                f"{matched[name].path}: tensor '{name}' differs from the word embedding; "
                "an output matrix of its own is not supported."
            )


def _check_is_discriminator(settings: dict[str, Any], *, path: Path) -> None:
    labels = saved_labels(settings, path=path)
    if labels != REPLACED_TOKEN_LABELS:
        raise CheckpointError(
            f"{path}: the labels are {', '.join(labels)}; a discriminator's are {', '.join(REPLACED_TOKEN_LABELS)}. "
            "Open it as ModernBertForTokenClassification, or ask for a new head."
        )
