"""A body's settings as the published `config.json` says them, old spellings included.

What would change the numbers and is not built here is an error, never ignored: an unsupported activation gives wrong
results without one.
"""

import dataclasses
from pathlib import Path
from typing import Any

from electrify.errors import CheckpointError, ConfigError, did_you_mean
from electrify.files import read_json, refuse_outside
from electrify.models.electra import ElectraConfig
from electrify.models.heads import AnyConfig
from electrify.models.limits import HIGHEST_NUM_LAYERS
from electrify.models.modernbert import FULL, SLIDING, ModernBertConfig
from electrify.models.t5_config import GATED_GELU, T5Config

CONFIG_FILE = "config.json"
_REMOTE_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Settings by which a folder brings code of its own, or asks for it to be run."""
DECODER = "modernbert-decoder"
"""The model type of ModernBERT's decoder, whose parameters have names of their own in folders."""
OWN = "electrify-"
"""Stands before the model type of a body with parts that no published class has, so that none opens it without them."""
_OWN_PARTS = {"attention_gate", "relative_bias"}
_CAUSAL_ELECTRA = ["ElectraForCausalLM"]
_MODEL_TYPES: dict[str, type[AnyConfig]] = {
    "electra": ElectraConfig,
    "modernbert": ModernBertConfig,
    DECODER: ModernBertConfig,
    f"{OWN}electra": ElectraConfig,
    f"{OWN}modernbert": ModernBertConfig,
    OWN + DECODER: ModernBertConfig,
    "t5": T5Config,
}
_ONLY_SUPPORTED: dict[str, dict[str, Any]] = {
    "electra": {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
        "hidden_act": "gelu",
    },
    "modernbert": {
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "decoder_bias": True,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu",
    },
    "t5": {"is_decoder": False},
}
"""Settings that Transformers knows, with the only value that is built here."""
_SUMMARY = {"summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"}
"""The same of ELECTRA's head for multiple choice; other networks' files may say anything, as nothing there reads it."""


def read_config(folder: str | Path) -> AnyConfig:
    """Read the settings of a published model folder.

    Args:
        folder: Where `config.json` lies.

    Raises:
        CheckpointError: If the file is missing or broken, its model type is unknown, a setting is not supported here,
            or a value is out of range.
    """
    path = Path(folder) / CONFIG_FILE
    return config_from_dict(read_settings(path), path=path)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the content of a `config.json` that came from elsewhere; errors as `read_config`."""
    refuse_outside(path, error=CheckpointError)
    return read_json(path, error=CheckpointError)


def config_from_dict(settings: dict[str, Any], *, path: Path) -> AnyConfig:
    """Build a body's config from the content of a `config.json`; `path` is for messages. Errors as `read_config`."""
    model_type = str(settings.get("model_type"))
    if model_type not in _MODEL_TYPES:
        hint = did_you_mean(model_type, _MODEL_TYPES)
        raise CheckpointError(f"{path}: model_type is {model_type!r}, which is not built here.{hint}")
    for name in _REMOTE_CODE:
        if settings.get(name):
            raise CheckpointError(
                f"{path}: {name} asks for code of the folder's own, which is never run here, so what it would compute "
                "is not known. Remove the key if the network is a plain one."
            )
    for name, supported in _ONLY_SUPPORTED[model_type.removeprefix(OWN).removesuffix("-decoder")].items():
        if name == "is_decoder" and settings.get("architectures") == _CAUSAL_ELECTRA:
            supported = True  # the only ELECTRA network here that is one
        _check_supported(settings, name, supported, path=path)
    config_type = _MODEL_TYPES[model_type]
    known = {field.name for field in dataclasses.fields(config_type)}
    values = {name: value for name, value in settings.items() if name in known}
    if config_type is ModernBertConfig:
        values |= _rotary_bases(settings, path=path)
        values |= _window(settings, path=path)
        values |= _layer_pattern(settings, path=path)
    if config_type is T5Config:
        values |= _t5_forms(settings, path=path)
    try:
        return config_type(**values)
    except ConfigError as problem:
        raise CheckpointError(f"{path}: {problem}") from None


def check_summary(settings: dict[str, Any], *, path: Path) -> None:
    """Refuse a `config.json` of ELECTRA for multiple choice whose head is of a form that is not built here.

    Args:
        settings: Its content.
        path: For messages.

    Raises:
        CheckpointError: If it is.
    """
    for name, supported in _SUMMARY.items():
        _check_supported(settings, name, supported, path=path)


def is_causal(settings: dict[str, Any]) -> bool:
    """Return whether the content of a `config.json` is that of a network that reads from left to right."""
    return is_decoder(settings) or settings.get("architectures") == _CAUSAL_ELECTRA


def is_decoder(settings: dict[str, Any]) -> bool:
    """Return whether the content of a `config.json` is that of ModernBERT's decoder."""
    return settings.get("model_type") in (DECODER, OWN + DECODER)


def config_to_dict(config: AnyConfig, *, is_decoder: bool = False) -> dict[str, Any]:
    """Return a body's settings as Transformers 5 reads them from `config.json`, without those of a head.

    With parts that no published class has, the model type is one of our own, which Transformers refuses.

    Args:
        config: The settings.
        is_decoder: Whether the body reads from left to right.
    """
    settings = dataclasses.asdict(config)
    for name in _OWN_PARTS - set(config.own_parts):
        settings.pop(name, None)
    prefix = OWN if config.own_parts else ""
    if isinstance(config, ElectraConfig):
        return {"model_type": f"{prefix}electra"} | settings | _ONLY_SUPPORTED["electra"] | {"is_decoder": is_decoder}
    if isinstance(config, T5Config):
        # Transformers takes "not tied" for "not scaled", whatever the output matrix is, and finds that out by itself.
        form = {"tie_word_embeddings": config.scale_decoder_outputs, "is_encoder_decoder": True}
        return {"model_type": "t5"} | settings | form | _ONLY_SUPPORTED["t5"]
    bases = {FULL: settings.pop("global_rope_theta"), SLIDING: settings.pop("local_rope_theta")}
    settings["rope_parameters"] = {
        kind: {"rope_type": "default", "rope_theta": float(base)} for kind, base in bases.items()
    }
    settings["layer_types"] = list(config.attention_types)
    del settings["global_attn_every_n_layers"]
    supported = {name: value for name, value in _ONLY_SUPPORTED["modernbert"].items() if name != "rope_scaling"}
    if is_decoder:  # its ids must be numbers; [CLS] begins a row and [SEP] ends it
        settings["bos_token_id"] = config.cls_token_id if config.bos_token_id is None else config.bos_token_id
        settings["eos_token_id"] = config.sep_token_id if config.eos_token_id is None else config.eos_token_id
        ids = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        settings = {name: value for name, value in settings.items() if name not in ids or value is not None}
    return {"model_type": prefix + (DECODER if is_decoder else "modernbert")} | settings | supported


def _check_supported(settings: dict[str, Any], name: str, supported: object, *, path: Path) -> None:
    if settings.get(name, supported) != supported:
        raise CheckpointError(f"{path}: {name} is {settings[name]!r}; only {supported!r} is supported.")


def _t5_forms(settings: dict[str, Any], *, path: Path) -> dict[str, Any]:
    """Read how T5's output is made: `tie_word_embeddings` stands for two settings, of which newer files name one.

    Newer files also name the activation again, which must then be that of the feed-forward part's name.
    """
    is_gated = settings.get("feed_forward_proj") == GATED_GELU
    for name, supported in (("is_gated_act", is_gated), ("dense_act_fn", "gelu_new" if is_gated else "relu")):
        _check_supported(settings, name, supported, path=path)
    is_scaled = settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings", True))
    ids = {"decoder_start_token_id": settings.get("decoder_start_token_id", settings.get("pad_token_id", 0))}
    return {"tie_word_embeddings": is_scaled, "scale_decoder_outputs": is_scaled, **ids}


def _rotary_bases(settings: dict[str, Any], *, path: Path) -> dict[str, Any]:
    """Read the bases of rotary angles: `rope_parameters` since Transformers 5, a key for each kind of layer before."""
    bases = {}
    new = settings.get("rope_parameters") or {}
    if not isinstance(new, dict) or new.keys() - {FULL, SLIDING}:
        raise CheckpointError(f"{path}: rope_parameters must be an object of '{FULL}' and '{SLIDING}', got {new!r}.")
    for kind, name in ((FULL, "global_rope_theta"), (SLIDING, "local_rope_theta")):
        parameters = {} if new.get(kind) is None else new[kind]
        if not isinstance(parameters, dict) or _rotary_kind(parameters) != "default":
            raise CheckpointError(f"{path}: rope_parameters.{kind} is {parameters!r}; only 'default' is supported.")
        base = parameters.get("rope_theta", settings.get(name))
        if base is not None:
            bases[name] = base
    if settings.get("local_rope_theta", 0) is None and "local_rope_theta" not in bases:
        # Written so before Transformers 5 to say "as in the other layers".
        bases["local_rope_theta"] = bases.get("global_rope_theta", ModernBertConfig.global_rope_theta)
    return bases


def _rotary_kind(parameters: dict[str, Any]) -> object:
    """Return how angles are made; the key was "type" at first."""
    return parameters.get("rope_type", parameters.get("type", "default"))


def _window(settings: dict[str, Any], *, path: Path) -> dict[str, Any]:
    """Read `sliding_window`, half of `local_attention`: decoders' files have both, and Transformers obeys this one."""
    if "sliding_window" not in settings:
        return {}
    half = settings["sliding_window"]
    if type(half) is not int or half < 1:
        raise CheckpointError(f"{path}: sliding_window must be a whole number, 1 or above, got {half!r}.")
    whole = settings.get("local_attention", ModernBertConfig.local_attention)
    return {} if isinstance(whole, int) and whole // 2 == half else {"local_attention": 2 * half}


def _layer_pattern(settings: dict[str, Any], *, path: Path) -> dict[str, Any]:
    """Read which layers look everywhere: `layer_types`, or before Transformers 5 a period."""
    types = settings.get("layer_types")
    if types is None:
        return {"layer_types": None}
    if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
        raise CheckpointError(f"{path}: layer_types must be a list of names, got {types!r}.")
    num_layers = settings.get("num_hidden_layers", ModernBertConfig.num_hidden_layers)
    if len(types) > HIGHEST_NUM_LAYERS:
        raise CheckpointError(f"{path}: layer_types names {len(types)} layers, over the limit of {HIGHEST_NUM_LAYERS}.")
    for every in (ModernBertConfig.global_attn_every_n_layers, *range(1, len(types) + 1)):
        periodic = [SLIDING if index % every else FULL for index in range(len(types))]
        if types == periodic and len(types) == num_layers:
            return {"global_attn_every_n_layers": every, "layer_types": None}
    return {"layer_types": tuple(types)}
