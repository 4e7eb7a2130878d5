"""Starting a run from published networks: a pair, or one of the two with the other built new.

Sizes come from the published configs, for a network that is built new from the recipe; what the recipe says of dropout
counts for both. Before training begins, everything that depends on the folder is written into the run's `start.json`,
so a run can be resumed when the folder it came from is gone.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer, load_tokenizer
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.files import digest_file, read_json, write_json
from electrify.models.checkpoint import load_model, resolve_folder, saved_network
from electrify.models.config_json import CONFIG_FILE, config_from_dict, config_to_dict
from electrify.models.electra import ElectraModel
from electrify.models.heads import BodyConfig, Network
from electrify.models.modernbert import ModernBertModel
from electrify.objectives.disentangled import DisentangledEmbedding
from electrify.objectives.objective import AnyObjective
from electrify.objectives.rtd import ReplacedTokenDetection
from electrify.pretraining.objectives import assemble_rtd, build_pair
from electrify.pretraining.sizes import ROLES, all_configs, body_of, refuse_contradiction, resolve
from electrify.training.optimizers import ParameterGroup, split_by_decay

_LOG = logging.getLogger(__name__)
START_FILE = "start.json"
_KINDS = ("rtd", "electra-15")


@dataclass(frozen=True, slots=True)
class Start:
    """What a run starts from."""

    config: PretrainConfig
    """The run's config with the sizes of the networks in it."""
    configs: dict[str, BodyConfig]
    """Of both networks, by role."""
    loaded: dict[str, Network]
    """The published networks by role, a discriminator without its head as a body; none if the run is resumed."""
    new_parameters: frozenset[str]
    """Names, as in the objective, of what no published network has; empty if both are whole. Set by `build_started`."""
    source: dict[str, str]
    """Where each network came from, with the digest of its config."""


def open_start(config: PretrainConfig, tokenizer: Tokenizer, *, explicit: Mapping[str, Any]) -> Start:
    """Read the folder that the config names, and put its sizes into the config.

    Args:
        config: With `init_from`.
        tokenizer: Of the data; must be the folder's.
        explicit: Settings of the section `model` that the user gave, which must not contradict the folder.

    Raises:
        CheckpointError: If the folder holds no network that a run can start from, or the two do not belong together.
        ConfigError: If an explicit size differs from the folder's.
        DataError: If the tokenizers differ.
    """
    assert config.init_from is not None
    if config.objective.kind not in _KINDS:
        raise ConfigError(f"init_from works with objective.kind = {' or '.join(_KINDS)}, not {config.objective.kind}.")
    folder = resolve_folder(config.init_from)
    places = _find_networks(folder)
    for place in places.values():
        resolve_folder(place)  # compares its files with its manifest
        _check_tokenizer(place, tokenizer)
    loaded = {role: _load(place, role) for role, place in places.items()}
    configs = all_configs({role: network.config for role, network in loaded.items()}, config, tokenizer, folder)
    model = resolve(config.model, configs, loaded)
    refuse_contradiction(explicit, model, folder)
    source = {role: f"{place} {digest_file(place / CONFIG_FILE)}" for role, place in places.items()}
    return Start(config.model_copy(update={"model": model}), configs, loaded, frozenset(), source)


def reopen_start(config: PretrainConfig, before: PretrainConfig, folder: Path, *, explicit: Mapping[str, Any]) -> Start:
    """Return what a run that is resumed once started from, without its values.

    Args:
        config: What is asked for now.
        before: What the run was begun with.
        folder: The run's folder.
        explicit: As for `open_start`.

    Raises:
        CheckpointError: If `start.json` is damaged.
        ConfigError: If an explicit size differs from the run's.
    """
    refuse_contradiction(explicit, before.model, folder)
    path = folder / START_FILE
    saved = read_json(path, error=CheckpointError)
    try:
        configs = {role: config_from_dict(saved["networks"][role], path=path) for role in ROLES}
        names = frozenset(str(name) for name in saved["new_parameters"])
        source = {str(role): str(text) for role, text in saved["source"].items()}
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: is not what was written when the run began.") from None
    return Start(config.model_copy(update={"model": before.model}), configs, {}, names, source)


def write_start(start: Start, folder: Path) -> None:
    """Write `start.json` into a run's folder."""
    content = {
        "source": start.source,
        "networks": {role: config_to_dict(config) for role, config in start.configs.items()},
        "new_parameters": sorted(start.new_parameters),
    }
    write_json(folder / START_FILE, json.loads(json.dumps(content)))


def build_started(start: Start, tokenizer: Tokenizer) -> tuple[ReplacedTokenDetection, Start]:
    """Build the objective with the published values in it.

    Returns:
        The objective, and the start with the names of new parameters.
    """
    config = start.config
    discriminator, generator = build_pair(
        config, disc_config=start.configs["discriminator"], gen_config=start.configs["generator"]
    )
    networks: dict[str, Network] = {"discriminator": discriminator, "generator": generator}
    old = {id(one) for role in start.loaded for one in _take_over(networks[role], start.loaded[role])}
    new_roles = [role for role in ROLES if start.loaded and role not in start.loaded]
    for role in new_roles:
        old |= {id(one) for one in _take_embeddings(networks[role], networks[_other(role)])}
    if new_roles == ["discriminator"] and config.model.share_layers:
        old |= {id(one) for one in _take_layers(discriminator, generator)}
    if config.objective.freeze_generator and "generator" not in start.source:
        raise ConfigError(f"objective.freeze_generator: {config.init_from} has no generator.")
    rtd = assemble_rtd(config, tokenizer, generator=generator, discriminator=discriminator)
    if not start.loaded:
        return rtd, start
    old |= {id(part.delta) for part in rtd.modules() if isinstance(part, DisentangledEmbedding)}
    names = frozenset(name for name, parameter in rtd.named_parameters() if id(parameter) not in old)
    for role in ROLES:
        what = "new" if role in new_roles else f"from {start.source[role].rpartition(' ')[0]}"
        if role == "discriminator" and isinstance(start.loaded.get(role), ElectraModel | ModernBertModel):
            what += ", with a new head"
        sizes = start.configs[role]
        _LOG.info("%s: %s (%d layers × %d).", role, what, sizes.num_hidden_layers, sizes.hidden_size)
    if names:
        _LOG.info("Until the warm-up is over, only the %d new tensors are trained.", len(names))
    return rtd, replace(start, loaded={}, new_parameters=names)


def group_parameters(objective: AnyObjective, start: Start | None) -> list[ParameterGroup]:
    """Return the parameters of an objective as the optimizer takes them; what was taken over waits for what is new."""
    named = {name: one for name, one in objective.named_parameters() if one.requires_grad}
    new = start.new_parameters if start is not None else frozenset()
    groups = split_by_decay((name, one) for name, one in named.items() if not new or name in new)
    return groups + split_by_decay(((name, one) for name, one in named.items() if new and name not in new), waits=True)


def find_inner(objective: AnyObjective) -> frozenset[str]:
    """Return the names of the parameters inside the layers of an objective's networks."""
    blocks = [block for network in objective.trained() for block in body_of(network).blocks]
    inner = {id(parameter) for block in blocks for parameter in block.parameters()}
    return frozenset(name for name, parameter in objective.named_parameters() if id(parameter) in inner)


def _find_networks(folder: Path) -> dict[str, Path]:
    places = {role: folder / role for role in ROLES if (folder / role / CONFIG_FILE).is_file()}
    if places:
        return places
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder}: neither a run with discriminator/ or generator/ nor a model folder with {CONFIG_FILE}."
        )
    is_generator = saved_network(folder).__name__.endswith("ForMaskedLM")
    return {"generator" if is_generator else "discriminator": folder}


def _load(place: Path, role: str) -> Network:
    """Load a network, or its body alone if it has another head than the role needs."""
    network = saved_network(place)
    has_head = network.__name__.endswith({"discriminator": "ForPreTraining", "generator": "ForMaskedLM"}[role])
    if has_head:
        return load_model(place, network)
    if role == "generator":
        raise CheckpointError(f"{place}: holds {network.__name__}, which is no generator. Remove or rename it.")
    return load_model(place, ElectraModel if network.__name__.startswith("Electra") else ModernBertModel)


def _check_tokenizer(place: Path, tokenizer: Tokenizer) -> None:
    if load_tokenizer(place).digest != tokenizer.digest:
        raise DataError(
            f"{place}: its tokenizer is not the one that the shards were made with. Prepare the text again with "
            f"--tokenizer {place}."
        )


def _take_over(target: Network, source: Network) -> list[torch.nn.Parameter]:
    """Copy the values of a published network, and return the parameters that now hold them."""
    part = target if type(target) is type(source) else body_of(target)
    part.load_state_dict(source.state_dict())
    return list(part.parameters())


def _take_embeddings(target: Network, source: Network) -> list[torch.nn.Parameter]:
    mine, theirs = body_of(target).embeddings, body_of(source).embeddings
    shapes = [{name: tensor.shape for name, tensor in block.state_dict().items()} for block in (mine, theirs)]
    if shapes[0] != shapes[1]:
        _LOG.info("The new network's embeddings are new too, as the widths differ.")
        return []
    mine.load_state_dict(theirs.state_dict())
    return list(mine.parameters())


def _take_layers(target: Network, source: Network) -> list[torch.nn.Parameter]:
    """Copy layers into the lowest ones of a network, which will be shared: they must not get lost for new ones."""
    pairs = list(zip(body_of(target).blocks, body_of(source).blocks, strict=False))
    for mine, theirs in pairs:
        mine.load_state_dict(theirs.state_dict())
    return [parameter for mine, _ in pairs for parameter in mine.parameters()]


def _other(role: str) -> str:
    return "generator" if role == "discriminator" else "discriminator"
