"""What an interrupted fine-tuning leaves behind: `OUTPUT.work/`, with finished seeds and the state of the running one.

    request.json               what was asked for; a run that asks for something else does not go on with it
    seed-3/state/step-…/       the running seed, see `training.checkpoints`
    seed-0/done/               a finished seed: network, result.json and judgements; of several tasks a folder each

Nothing is written before `checkpoint_minutes` are over, so short runs leave no trace.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electrify.config import FinetuneConfig
from electrify.data.tokenizer import Tokenizer
from electrify.errors import ConfigError, DataError
from electrify.files import digest_file, new_folder, read_json, write_json
from electrify.models.heads import TaskNetwork
from electrify.tasks.judgement import Judgement, read_columns, write_columns
from electrify.tasks.kinds import formula_of
from electrify.tasks.run import SeedResult
from electrify.tasks.task import Task
from electrify.verbs.finetuned import open_finetuned, save_finetuned

_MODEL_ENDINGS = (".json", ".safetensors", ".txt")
_REQUEST, _RESULT, _JUDGEMENTS = "request.json", "result.json", "judgements"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a seed made of one task."""

    task: Task
    """With what was fitted after training."""
    network: TaskNetwork
    judgements: dict[str, Judgement]
    """By part."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A seed that is done."""

    result: SeedResult
    trained: dict[str, Trained]
    """By the name of the task; a single task has the name ""."""


def digest_inputs(model: Path, files: Mapping[str, str | Path]) -> dict[str, Any]:
    """Return what tells a run's model and data from others at the same places, for its request.

    Args:
        model: Folder of the model.
        files: The data by part.
    """
    held = sorted(path for path in model.iterdir() if path.suffix in _MODEL_ENDINGS)
    return {
        "model files": {path.name: digest_file(path) for path in held},
        "data files": {part: digest_file(Path(path)) for part, path in files.items()},
    }


class WorkFolder:
    """The folder beside an output that is not there yet.

    Args:
        target: The output.
        request: What was asked for, JSON-able.
    """

    def __init__(self, target: Path, request: dict[str, Any]) -> None:
        self.folder = target.with_name(target.name + ".work")
        self._request = request
        self._started = time.monotonic()

    def begin(self, *, resume: bool, overwrite: bool) -> None:
        """Check what an earlier run left.

        Raises:
            DataError: If there is something and neither going on nor starting anew is asked for.
            ConfigError: If the earlier run was asked for something else.
        """
        if not self.folder.exists():
            return
        if resume:
            before = read_json(self.folder / _REQUEST)
            for key in self._request:
                if before.get(key) != self._request[key]:
                    raise ConfigError(
                        f"{self.folder}: was begun with other {key}. Give the same, or remove this folder."
                    )
        elif overwrite:
            shutil.rmtree(self.folder)
        else:
            raise DataError(
                f"{self.folder}: an unfinished run. Go on with --resume, or pass --overwrite to start anew."
            )

    def states(self, seed: int) -> Path:
        """Return where the states of a seed are saved."""
        return self.folder / f"seed-{seed}" / "state"

    def note_request(self) -> None:
        """Write what was asked for, before the first thing to go on with."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _REQUEST).exists():
            write_json(self.folder / _REQUEST, self._request)

    def finished(self, seed: int, tasks: Mapping[str, Task]) -> Finished | None:
        """Return a seed that an earlier run finished; None if it did not.

        Args:
            seed: Which one.
            tasks: What is trained, by name.
        """
        folder = self.folder / f"seed-{seed}" / "done"
        if not folder.is_dir():
            return None
        trained = {}
        for name, task in tasks.items():
            opened = open_finetuned(folder / name)
            judgements = {
                path.stem: Judgement(read_columns(path), formula_of(task))
                for path in sorted((folder / name / _JUDGEMENTS).glob("*.safetensors"))
            }
            trained[name] = Trained(opened.task, opened.network, judgements)
        return Finished(SeedResult(**read_json(folder / _RESULT)), trained)

    def save_finished(self, finished: Finished, tokenizer: Tokenizer, config: FinetuneConfig) -> None:
        """Keep a finished seed if there are states already or the run has lasted for `checkpoint_minutes`."""
        is_long = time.monotonic() - self._started >= config.checkpoint_minutes * 60
        if not is_long and not self.folder.exists():
            return
        self.note_request()
        seed = self.folder / f"seed-{finished.result.seed}"
        with new_folder(seed / "done") as temporary:
            write_json(temporary / _RESULT, asdict(finished.result))
            for name, one in finished.trained.items():
                (temporary / name / _JUDGEMENTS).mkdir(parents=True)
                save_finetuned(temporary / name, one.network, one.task, tokenizer, config)
                for part, judgement in one.judgements.items():
                    write_columns(judgement.columns, temporary / name / _JUDGEMENTS / f"{part}.safetensors")
        shutil.rmtree(seed / "state", ignore_errors=True)

    def remove(self) -> None:
        """Remove everything, once the output is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
