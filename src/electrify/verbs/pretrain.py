"""Pre-training by replaced token detection: a recipe and a shard folder in, two published networks out.

Read `Pretraining.run` first. A killed run that is continued with `resume` equals, bit for bit, one that was not.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from electrify import recipes
from electrify.config import PretrainConfig
from electrify.data.loader import RowOrder
from electrify.data.shards import Part, ShardFolder, open_shards
from electrify.errors import CheckpointError, ConfigError, TrainingError
from electrify.files import refuse_existing, write_json, write_text
from electrify.noise import row_keys
from electrify.objectives.diagnostics import Summary, diagnose, find_trouble, plateau_loss, summarise
from electrify.objectives.rtd import MaskedRows, RTDOutput
from electrify.progress import bar, format_seconds
from electrify.runs import MetricsLog, describe_environment, finite_or_none
from electrify.training.checkpoints import State, load_newest_state, save_state
from electrify.training.loop import Clock, Every, run
from electrify.training.optimizers import Adam, split_by_decay
from electrify.training.precision import autocast, choose_device, resolve_precision
from electrify.verbs.networks import build_rtd, start_from_neighbours, to_inputs
from electrify.verbs.publish import publish_networks

_LOG = logging.getLogger(__name__)
_EVALUATION_SEED = 20_200_310  # masks of the held-out rows are the same in all runs
_FREQUENCY_ROWS = 1024
_TROUBLE_AFTER = 0.25  # share of a run after which it should have learned something


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What a run came to."""

    output: str
    steps: int
    tokens: int
    """Real tokens trained on, special ones included."""
    seconds: float
    tokens_per_s: float
    validation: dict[str, float]
    """Held-out figures at the end; empty without a validation part."""
    warning: str | None
    """What is wrong with the run, if anything."""


def pretrain(
    recipe: str | Path,
    *,
    output: str | Path,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    verify: bool = False,
    overwrite: bool = False,
) -> PretrainReport:
    """Train a generator and a discriminator.

    Args:
        recipe: Name of a shipped recipe or path of a TOML file.
        output: The run's folder.
        overrides: Nested values that replace the recipe's; {"data": {"path": …}} at least.
        resume: Continue the run in `output` from its newest state, or start it if there is none.
        verify: Compare the digest of every shard before training; sizes are always compared.
        overwrite: Replace what is in `output`.

    Raises:
        ConfigError: If a setting is wrong, or differs from those of the run that is continued.
        DataError: If the shard folder can not be used.
        CheckpointError: If all saved states are damaged.
        TrainingError: If the loss stops being a number.
    """
    config = recipes.load_recipe(recipe, overrides)
    if config.data.path is None:
        raise ConfigError("data.path is not set. Give --data.path SHARDS, a folder made by `electrify prepare`.")
    folder = Path(output)
    if not resume:
        refuse_existing(folder, overwrite=overwrite)
    training = Pretraining(config, open_shards(config.data.path, verify=verify), folder)
    if not resume and folder.exists():  # only now, when nothing is wrong with what replaces it
        shutil.rmtree(folder)
    return training.run()


class _Window:
    """Sums over the steps that one line of metrics stands for."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # losses of both, predictions, real tokens
        self.tokens_seen = 0

    def add(self, output: RTDOutput, rows: MaskedRows) -> None:
        self.sums += torch.stack(
            [
                output.gen_loss.double(),
                output.disc_loss.double(),
                *self.sums.new_tensor([rows.num_masked, rows.num_tokens]),
            ]
        )
        self.tokens_seen += rows.num_tokens

    def losses(self) -> dict[str, float]:
        gen_sum, disc_sum, num_masked, num_tokens = self.sums.tolist()
        return {"gen_loss": gen_sum / max(1, num_masked), "disc_loss": disc_sum / max(1, num_tokens)}


class Pretraining:
    """One run, from its first or its last saved step to its end.

    Args:
        config: The resolved config.
        shards: What is trained on.
        folder: The run's folder; a state in it is continued from.
    """

    def __init__(self, config: PretrainConfig, shards: ShardFolder, folder: Path) -> None:
        self.config = config
        self.shards = shards
        self.folder = folder
        self.device = choose_device()
        self.dtype = resolve_precision(config.training.precision, self.device)
        self.tokenizer = shards.tokenizer()
        if shards.max_length > config.model.max_positions:
            raise ConfigError(
                f"model.max_positions = {config.model.max_positions}, but the rows of {shards.path} have up to "
                f"{shards.max_length} tokens. Raise it, or prepare with a smaller --max-length."
            )
        self.rtd = build_rtd(config, self.tokenizer).to(self.device)
        self.optimizer = Adam(split_by_decay(self.rtd.named_parameters()), config.optimizer)
        self.order = RowOrder(shards.num_rows("train"), seed=config.seed)
        self.window = _Window(self.device)
        self.clock = Clock(config.schedule)
        self.tokens_before = 0
        self.grad_norm = torch.zeros(())
        self.factor = 0.0
        self.validation: dict[str, float] = {}
        self.warning: str | None = None

    def run(self) -> PretrainReport:
        """Train to the end of the schedule and publish both networks."""
        self._open_folder()
        self._continue_from_saved_state()
        every = self.config
        with (
            MetricsLog(
                self.folder, after_step=self.clock.step, use_tensorboard=every.logging.tensorboard
            ) as self.metrics,
            bar("Pre-training", total=1.0) as self.bar,
        ):
            self.bar.advance(self.clock.progress)
            self.clock.start()
            run(
                self.clock,
                self._take_step,
                [
                    Every(every.logging.every_steps, self._log),
                    Every(every.evaluation.every_steps, self._evaluate),
                    Every(every.checkpoint.every_steps, self._save),
                ],
            )
        report = self._report()
        publish_networks(self.rtd, self.tokenizer, self.config, report, self.shards, self.folder)
        write_json(self.folder / "results.json", finite_or_none(asdict(report)))
        return report

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.toml"
        if path.exists():
            self._refuse_other_config(recipes.load_recipe(path))
        environment = {
            **describe_environment(),
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "data": {"path": str(self.config.data.path), "digest": self.shards.digest},
        }
        write_text(path, recipes.render(self.config))
        write_json(self.folder / "environment.json", environment)

    def _refuse_other_config(self, before: PretrainConfig) -> None:
        then, now = _flat(before), _flat(self.config)
        for key, value in then.items():
            if value != now[key]:
                raise ConfigError(
                    f"{self.folder}: the run was started with {key} = {value!r}, now it is {now[key]!r}. Resume with "
                    "the settings in its config.toml, or choose another --output."
                )

    def _continue_from_saved_state(self) -> None:
        state = load_newest_state(self.folder / "state")
        if state is None:
            if self.config.model.embedding_init == "cooccurrence":
                start_from_neighbours(self.rtd, self.shards)
            return
        counters = state.counters
        if counters["data_digest"] != self.shards.digest:
            raise ConfigError(
                f"{self.shards.path}: not the data that the run in {self.folder} was started on (digest "
                f"{self.shards.digest[:12]}, then {counters['data_digest'][:12]}). Give the same --data.path."
            )
        try:
            for name, parameter in self.rtd.named_parameters():
                parameter.data.copy_(state.networks[name])
            self.optimizer.load(
                {name: tensor.to(self.device) for name, tensor in state.optimizer.items()}, num_steps=state.step
            )
        except (KeyError, RuntimeError) as problem:
            raise CheckpointError(f"{self.folder}: the saved state does not fit these networks ({problem}).") from None
        self.clock.step = state.step
        self.clock.seconds_before = counters["seconds"]
        self.window.sums = torch.tensor(counters["window"], dtype=torch.float64, device=self.device)
        self.window.tokens_seen = counters["tokens_seen"]
        self.tokens_before = counters["tokens_seen"]
        self.validation = {key: np.nan if value is None else value for key, value in counters["validation"].items()}
        self.warning = counters.get("warning")
        _LOG.info("Continuing from step %d.", state.step)

    def _rows(self, part: Part, indices: np.ndarray, keys: Tensor) -> MaskedRows:
        rows = self.shards.rows(part, indices)
        inputs = to_inputs(rows, self.device, isolate_documents=self.config.data.isolate_documents)
        return self.rtd.mask_rows(inputs, keys.to(self.device))

    def _take_step(self, factor: float) -> None:
        training = self.config.training
        indices = self.order.row_indices(self.clock.step, training.batch_size)
        keys = row_keys(self.config.seed, self.clock.step, torch.from_numpy(indices))
        size = training.micro_batch_size or training.batch_size
        batches = [
            self._rows("train", indices[start : start + size], keys[start : start + size])
            for start in range(0, len(indices), size)
        ]
        total_masked = sum(batch.num_masked for batch in batches)
        total_tokens = sum(batch.num_tokens for batch in batches)
        next_step = self.clock.step + 1
        is_logged = next_step % self.config.logging.every_steps == 0 or next_step == self.config.schedule.num_steps
        summaries: list[Summary] = []
        self.rtd.train()
        for batch in batches:
            with autocast(self.device, self.dtype):
                output = self.rtd(batch, total_masked=total_masked, total_tokens=total_tokens, with_figures=is_logged)
            output.loss.backward()
            self.window.add(output, batch)
            if is_logged:
                summaries.append(summarise(output))
        self.grad_norm = self.optimizer.step(factor)
        self.factor = factor
        self.last_summaries = summaries

    def _losses(self) -> dict[str, float]:
        losses = self.window.losses()
        norm = float(self.grad_norm)
        if not np.isfinite(losses["gen_loss"] + losses["disc_loss"] + norm):
            raise TrainingError(
                f"step {self.clock.step}: the loss is not a number (generator {losses['gen_loss']}, discriminator "
                f"{losses['disc_loss']}, gradient {norm}). Lower optimizer.learning_rate or set training.precision = "
                '"fp32", then continue with --resume from the last saved state.'
            )
        return losses

    def _log(self) -> None:
        losses = self._losses()
        record: dict[str, Any] = {
            "step": self.clock.step,
            "kind": "train",
            "epoch": self.order.epoch_of(self.clock.step, self.config.training.batch_size),
            "tokens": self.window.tokens_seen,
            **losses,
            **(diagnose(self.last_summaries) if self.last_summaries else {}),
            "grad_norm": float(self.grad_norm),
            "learning_rate": self.config.optimizer.learning_rate * self.factor,
        }
        record["timing"] = {
            "seconds": round(self.clock.seconds, 3),
            "tokens_per_s": round(self._tokens_per_s(), 1),
            "seconds_left": round(self.clock.seconds_left, 1),
        }
        self.metrics.write(record)
        self.window.sums.zero_()
        self.bar.advance(
            self.clock.progress - self.bar.done,
            seconds_left=self.clock.seconds_left,
            text=f"step {self.clock.step}  {self._tokens_per_s():,.0f} tokens/s  generator {losses['gen_loss']:.3f}  "
            f"discriminator {losses['disc_loss']:.4f}",
        )

    @torch.no_grad()
    def _evaluate(self) -> None:
        num_rows = min(self.config.evaluation.num_rows, self.shards.num_rows("validation"))
        if num_rows == 0:
            return
        self.rtd.eval()
        window, summaries = _Window(self.device), []
        chosen = RowOrder(self.shards.num_rows("validation"), seed=_EVALUATION_SEED).row_indices(0, num_rows)
        size = self.config.training.micro_batch_size or self.config.training.batch_size
        for start in range(0, num_rows, size):
            indices = chosen[start : start + size]
            batch = self._rows("validation", indices, row_keys(_EVALUATION_SEED, 0, torch.from_numpy(indices)))
            with autocast(self.device, self.dtype):
                output = self.rtd(
                    batch, total_masked=batch.num_masked, total_tokens=batch.num_tokens, with_figures=True
                )
            window.add(output, batch)
            summaries.append(summarise(output))
        self.validation = {**window.losses(), **diagnose(summaries)}
        self.metrics.write({"step": self.clock.step, "kind": "validation", **self.validation})
        if self.clock.progress >= _TROUBLE_AFTER:
            self._warn_of_trouble()

    def _warn_of_trouble(self) -> None:
        trouble = find_trouble(self.validation["gen_loss"], self.validation["disc_auc"], plateau=self._plateau())
        if trouble and trouble != self.warning:
            _LOG.warning("Step %d: %s", self.clock.step, trouble)
        self.warning = trouble

    def _plateau(self) -> float:
        num_rows = min(_FREQUENCY_ROWS, self.shards.num_rows("train"))
        ids = torch.from_numpy(self.shards.rows("train", np.arange(num_rows)).input_ids).flatten()
        counts = torch.bincount(ids, minlength=self.tokenizer.vocab_size)
        counts[list(self.tokenizer.special_ids)] = 0
        return plateau_loss(counts, mask_token_prob=self.config.masking.mask_token_prob)

    def _save(self) -> None:
        self._losses()  # a state that is not a number is never saved
        counters = {
            "seconds": self.clock.seconds,
            "tokens_seen": self.window.tokens_seen,
            "window": self.window.sums.tolist(),
            "validation": finite_or_none(self.validation),
            "warning": self.warning,
            "data_digest": self.shards.digest,
        }
        state = State(self.clock.step, dict(self.rtd.named_parameters()), self.optimizer.tensors(), counters)
        save_state(self.folder / "state", state, keep_last=self.config.checkpoint.keep_last)

    def _tokens_per_s(self) -> float:
        here = self.clock.seconds - self.clock.seconds_before
        return (self.window.tokens_seen - self.tokens_before) / here if here else 0.0

    def _report(self) -> PretrainReport:
        seconds = self.clock.seconds
        _LOG.info("Trained %d steps in %s.", self.clock.step, format_seconds(seconds))
        return PretrainReport(
            output=str(self.folder),
            steps=self.clock.step,
            tokens=self.window.tokens_seen,
            seconds=seconds,
            tokens_per_s=self.window.tokens_seen / seconds if seconds else 0.0,
            validation=self.validation,
            warning=self.warning,
        )


def _flat(config: PretrainConfig) -> dict[str, Any]:
    """Return every setting by its dotted name, but for the place of the data."""
    return {
        f"{section}.{key}".removesuffix("."): value
        for section, values in config.model_dump(exclude={"data": {"path"}}).items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }
