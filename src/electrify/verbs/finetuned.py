"""Fine-tuned folders: what is written into them, and how they are opened again.

A folder is a published one, with the task under "electrify" in `config.json`. One that Transformers wrote opens too:
its task then follows from its network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from electrify import __version__
from electrify.config import FinetuneConfig
from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError
from electrify.models.checkpoint import read_config, resolve_folder, save_model, saved_network
from electrify.models.config_json import CONFIG_FILE, read_settings
from electrify.models.electra import ElectraConfig
from electrify.models.heads import TaskNetwork
from electrify.models.published import describe_network
from electrify.recipes import explain
from electrify.tasks import answering, choice, classification, multilabel, regression, tagging
from electrify.tasks.kinds import restore_task, state_of
from electrify.tasks.networks import load_network
from electrify.tasks.task import Task

_KIND_OF_NETWORK = {
    "ForSequenceClassification": classification.KIND,
    "ForTokenClassification": tagging.KIND,
    "ForQuestionAnswering": answering.KIND,
    "ForMultipleChoice": choice.KIND,
}
_KIND_OF_PROBLEM = {
    "regression": regression.KIND,
    "multi_label_classification": multilabel.KIND,
    "single_label_classification": classification.KIND,
}


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A fine-tuned folder, opened."""

    folder: Path
    task: Task
    network: TaskNetwork
    tokenizer: Tokenizer
    max_length: int
    """Longest row that it was trained with, in tokens."""


def save_finetuned(
    folder: Path, network: TaskNetwork, task: Task, tokenizer: Tokenizer, config: FinetuneConfig
) -> None:
    """Write network, tokenizer and task into an existing folder."""
    ours = {
        "version": __version__,
        "task": task.kind,
        "max_length": config.max_length,
        "settings": config.model_dump(),
        "state": state_of(task),
    }
    save_model(network.cpu(), folder, electrify=ours, problem_type=task.problem_type)
    tokenizer.save(
        folder,
        max_length=network.config.max_position_embeddings,
        has_token_types=isinstance(network.config, ElectraConfig),
    )


def open_finetuned(folder: str | Path) -> Finetuned:
    """Open a fine-tuned folder.

    Raises:
        CheckpointError: If it can not be used or holds no fine-tuned network.
    """
    path = resolve_folder(folder)
    settings = read_settings(path / CONFIG_FILE)
    ours = settings.get("electrify", {})
    ours = ours if isinstance(ours, dict) else {}
    kind = ours.get("task") or _kind_from_network(path, settings)
    config = _config_of(path, ours)
    state = ours.get("state", {})
    labels = _labels(settings)
    if kind == regression.KIND and len(labels) > 1:
        raise CheckpointError(
            f"{path}: predicts {len(labels)} numbers at once, where regression here has one. "
            "Fine-tune a network for each with `electrify finetune`."
        )
    task = restore_task(str(kind), labels, config, state if isinstance(state, dict) else {})
    network = load_network(path, task.head, job=str(kind))
    limit = read_config(path).max_position_embeddings
    length = ours.get("max_length", min(limit, 512))
    max_length = length if isinstance(length, int) and 2 < length <= limit else limit
    return Finetuned(path, task, network, load_tokenizer(path), max_length)


def _kind_from_network(path: Path, settings: dict[str, Any]) -> str:
    saved = saved_network(path)
    kind = next((kind for ending, kind in _KIND_OF_NETWORK.items() if saved.__name__.endswith(ending)), None)
    if kind is None:
        raise CheckpointError(
            f"{path}: holds {describe_network(saved)}, not a fine-tuned network. "
            "Make one of it with `electrify finetune`."
        )
    if kind != classification.KIND:
        return kind
    problem = settings.get("problem_type")
    if problem is None and len(_labels(settings)) == 1:
        return regression.KIND  # as Transformers takes it
    return _KIND_OF_PROBLEM.get(str(problem), kind)


def _config_of(path: Path, ours: dict[str, Any]) -> FinetuneConfig:
    try:
        return FinetuneConfig.model_validate(ours.get("settings", {}))
    except ValidationError as problem:
        raise CheckpointError(
            f"{path / CONFIG_FILE}: settings of another version of electrify: {explain(problem, FinetuneConfig)}"
        ) from None


def _labels(settings: dict[str, Any]) -> tuple[str, ...]:
    names = settings.get("id2label")
    if not isinstance(names, dict) or sorted(names) != sorted(str(index) for index in range(len(names))):
        return ("LABEL_0", "LABEL_1")  # what Transformers takes
    return tuple(str(names[str(index)]) for index in range(len(names)))
