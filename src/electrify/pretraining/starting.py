"""Starting a run from published networks: a pair, or a single one with what else the objective needs built new.

Any objective's networks can start any other's: what becomes the first network of a run is looked for under its own name
and then under the others that such a network is published by; its head comes along where it does the same job. Sizes
come from the published configs, for a network that is built new from the recipe; what the recipe says of dropout
counts for all. How far a modernbert body reads has no tensor of its own, so there the user's word counts. Before
training begins, everything that depends on the folder is written into the run's `start.json`, so a run can be resumed
when the folder it came from is gone.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from electrify.config import PretrainConfig
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.files import digest_file, read_json, write_json
from electrify.models.checkpoint import load_model, resolve_folder, saved_network
from electrify.models.config_json import CONFIG_FILE, config_from_dict, config_to_dict, read_config
from electrify.models.electra import ElectraModel
from electrify.models.heads import BodyConfig, Network, body_of
from electrify.models.modernbert import ModernBertModel
from electrify.objectives.disentangled import DisentangledEmbedding
from electrify.objectives.objective import AnyObjective
from electrify.pretraining.objectives import OBJECTIVES, build_networks, share_within
from electrify.pretraining.sizes import all_configs, pair_config, refuse_contradiction, resolve, with_reach
from electrify.training.optimizers import ParameterGroup, split_by_decay

_LOG = logging.getLogger(__name__)
START_FILE = "start.json"
_FIRST_NETWORKS = ("discriminator", "encoder", "scorer", "decoder")
"""The folders that networks to fine-tune later are published in; what has another name starts no run."""
_JUDGES = "ForPreTraining"
_KNOWS_WORDS = ("ForMaskedLM", "ForCausalLM")
"""How the names of networks end whose heads have the same parameters."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a run starts from."""

    config: PretrainConfig
    """The run's config with the sizes of the networks in it."""
    configs: dict[str, BodyConfig]
    """Of all networks, by role, the one to fine-tune first."""
    loaded: dict[str, Network]
    """The published networks by role, bodies alone where the head does another job; none if the run is resumed."""
    new_parameters: frozenset[str]
    """Names, as in the objective, of what no published network has; empty if all are whole. Set by `build_started`."""
    source: dict[str, str]
    """Where each network came from, with the digest of its config."""


def open_start(config: PretrainConfig, tokenizer: Tokenizer, *, explicit: Mapping[str, Any]) -> Start:
    """Read the folder that the config names, and put its sizes into the config.

    Args:
        config: With `init_from`.
        tokenizer: Of the data; must be the folder's.
        explicit: Settings of the section `model` that the user gave: what no tensor is sized by changes, the rest must
            not contradict the folder.

    Raises:
        CheckpointError: If the folder holds no network that a run can start from, or the two do not belong together.
        ConfigError: If an explicit size differs from the folder's.
        DataError: If the tokenizers differ.
    """
    assert config.init_from is not None
    roles = _roles(config)
    folder = resolve_folder(config.init_from, may_be_run=True)
    places = _find_networks(folder, roles)
    found = {role: pair_config(read_config(place), place) for role, place in places.items()}
    for place in places.values():
        resolve_folder(place)  # compares its files with its manifest
        _check_tokenizer(place, tokenizer)
    loaded = {role: _load(place, role) for role, place in places.items()}
    found = {role: with_reach(one, explicit) for role, one in found.items()}
    configs = all_configs(found, config, tokenizer, folder, roles=roles)
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
        configs = {
            role: pair_config(config_from_dict(saved["networks"][role], path=path), path) for role in _roles(before)
        }
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


def build_started(start: Start, tokenizer: Tokenizer) -> tuple[AnyObjective, Start]:
    """Build the objective with the published values in it.

    Returns:
        The objective, and the start with the names of new parameters.

    Raises:
        ConfigError: If a generator is to stay as it is, and there is none.
    """
    config = start.config
    networks = build_networks(config, start.configs)
    first = next(iter(networks))
    # Kept alive, also those that sharing drops: an id is that of one object only while the object lives.
    old = [one for role in start.loaded for one in _take_over(networks[role], start.loaded[role])]
    new_roles = [role for role in networks if start.loaded and role not in start.loaded]
    for role in new_roles:
        old += _take_embeddings(networks[role], networks[next(iter(start.loaded))])
    if first in new_roles and config.model.share_layers:
        old += _take_layers(networks[first], networks["generator"])
    lines = [f"{role}: {_describe(start, role, network)}." for role, network in networks.items()]
    objective = OBJECTIVES[config.objective.kind].assemble(config, tokenizer, networks)
    share_within(config, objective)
    if config.objective.freeze_generator and "generator" not in start.source:
        raise ConfigError(f"objective.freeze_generator: {config.init_from} has no generator.")
    if not start.loaded:
        return objective, start
    old += [part.delta for part in objective.modules() if isinstance(part, DisentangledEmbedding)]
    old_ids = {id(one) for one in old}
    named = [(name, one) for name, one in objective.named_parameters() if one.requires_grad]
    names = frozenset(name for name, parameter in named if id(parameter) not in old_ids)
    for line in lines:
        _LOG.info("%s", line)
    if names:
        _LOG.info("Until the warm-up is over, only the %d new tensors are trained.", len(names))
    return objective, replace(start, loaded={}, new_parameters=names)


def _describe(start: Start, role: str, network: Network) -> str:
    sizes = f"({network.config.num_hidden_layers} layers × {network.config.hidden_size})"
    if role not in start.loaded:
        return f"new {sizes}"
    head = "" if _has_same_head(network, start.loaded[role]) else ", with a new head"
    return f"from {start.source[role].rpartition(' ')[0]}{head} {sizes}"


def group_parameters(objective: AnyObjective, start: Start | None) -> list[ParameterGroup]:
    """Return the parameters of an objective as the optimizer takes them; what was taken over waits for what is new."""
    named = {name: one for name, one in objective.named_parameters() if one.requires_grad}
    new = start.new_parameters if start is not None else frozenset()
    groups = split_by_decay((name, one) for name, one in named.items() if not new or name in new)
    return groups + split_by_decay(((name, one) for name, one in named.items() if new and name not in new), waits=True)


def find_inner(objective: AnyObjective) -> frozenset[str]:
    """Return the names of the parameters inside the layers of an objective's networks, tables of vectors left out."""
    blocks = [block for network in objective.trained() for block in body_of(network).blocks]
    parts = [part for block in blocks for part in block.modules() if not isinstance(part, nn.Embedding)]
    inner = {id(parameter) for part in parts for parameter in part.parameters(recurse=False)}
    return frozenset(name for name, parameter in objective.named_parameters() if id(parameter) in inner)


def _roles(config: PretrainConfig) -> tuple[str, ...]:
    """Return the roles of the objective's networks, the one to fine-tune first."""
    roles = tuple(OBJECTIVES[config.objective.kind].builders)
    if roles[0] not in _FIRST_NETWORKS:
        raise ConfigError(f"init_from does not work with objective.kind = {config.objective.kind}.")
    return roles


def _find_networks(folder: Path, roles: Sequence[str]) -> dict[str, Path]:
    """Return which published network takes which role: the first one, a generator beside it, or both."""
    first, *others = roles
    names = (first, *(name for name in _FIRST_NETWORKS if name != first), "generator")
    present = [name for name in names if (folder / name / CONFIG_FILE).is_file()]
    if present:
        places = {first: folder / present[0]}
        if "generator" in others and "generator" in present:
            places = {"generator": folder / "generator"} | (places if len(present) > 1 else {})
        return {role: places[role] for role in roles if role in places}
    if not (folder / CONFIG_FILE).is_file():
        listed = f"{'/, '.join(names[:-1])}/ or {names[-1]}/"
        raise CheckpointError(f"{folder}: neither a run with {listed} nor a model folder with {CONFIG_FILE}.")
    # Of a pair it is the generator that fills in; elsewhere the first network may well be one that does.
    is_generator = first == "discriminator" and saved_network(folder).__name__.endswith("ForMaskedLM")
    return {"generator" if is_generator else first: folder}


def _load(place: Path, role: str) -> Network:
    """Load a network, or its body alone if its head does another job than the role's."""
    network = saved_network(place)
    if role == "generator" and not network.__name__.endswith("ForMaskedLM"):
        raise CheckpointError(f"{place}: holds {network.__name__}, which is no generator. Remove or rename it.")
    if network.__name__.endswith(_JUDGES if role in ("discriminator", "scorer") else _KNOWS_WORDS):
        return load_model(place, network)
    return load_model(place, ElectraModel if network.__name__.startswith("Electra") else ModernBertModel)


def _check_tokenizer(place: Path, tokenizer: Tokenizer) -> None:
    if load_tokenizer(place).digest != tokenizer.digest:
        raise DataError(
            f"{place}: its tokenizer is not the one that the shards were made with. Prepare the text again with "
            f"--tokenizer {place}."
        )


def _take_over(target: Network, source: Network) -> list[torch.nn.Parameter]:
    """Copy the values of a published network, and return the parameters that now hold them."""
    part = target if _has_same_head(target, source) else body_of(target)
    part.load_state_dict(source.state_dict())
    return list(part.parameters())


def _has_same_head(target: Network, source: Network) -> bool:
    return target.state_dict().keys() == source.state_dict().keys()


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
