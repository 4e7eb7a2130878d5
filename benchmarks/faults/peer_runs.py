"""Small runs by what people train with, each saved and resumed as its documentation shows it; for `peers.py`."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

EVERY, STOP_AFTER, KILL_AT = 4, 14, 12
NUM_STEPS = 20


@dataclass
class Plan:
    """What happens to a run, and what is known of it."""

    folder: Path
    limit_bytes: int | None = None
    """Size of a file at which the save of step 12 ends the process."""
    stops: bool = False
    first_step: int | None = None

    def after(self, step: int) -> None:
        """Called after each step, before anything is saved."""
        if self.first_step is None:
            self.first_step = step - 1
            (self.folder / "resumed").write_text(str(self.first_step))
        if step == KILL_AT - 1 and self.limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit_bytes, self.limit_bytes))
        if step == STOP_AFTER and self.stops:
            os._exit(0)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Dropout(0.1), torch.nn.Linear(256, 64)
        )

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.layers(x) - labels).square().mean()}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(step)
    return torch.randn(8, 64, generator=draw), torch.randn(8, 64, generator=draw)


def newest(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern), key=lambda path: int("".join(filter(str.isdigit, path.name))))
    return found[-1] if found else None


def steps(state: dict[str, Any], backward: Callable[[torch.Tensor], None]) -> Iterator[int]:
    """The loop that Accelerate, Fabric and plain torch have in common; yields after each step."""
    for step in range(state["step"] + 1, NUM_STEPS + 1):
        x, labels = batch(step)
        backward(state["model"](x, labels)["loss"])
        state["optimizer"].step()
        state["optimizer"].zero_grad()
        state["step"] = step
        yield step


def new_state() -> dict[str, Any]:
    torch.manual_seed(0)
    model = Net()
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3), "step": 0}


def trainer(plan: Plan) -> torch.nn.Module:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
            plan.after(state.global_step)

    rows = [dict(zip(("x", "labels"), (one[0] for one in batch(row)), strict=True)) for row in range(400)]
    arguments = TrainingArguments(
        output_dir=str(plan.folder / "out"), max_steps=NUM_STEPS, save_steps=EVERY, seed=0, report_to="none",
        per_device_train_batch_size=8, learning_rate=1e-3, disable_tqdm=True, logging_steps=1000,
        dataloader_pin_memory=False,
    )  # fmt: skip
    model = new_state()["model"]
    run = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Callback()])
    run.train(resume_from_checkpoint=newest(plan.folder, "out/checkpoint-*") is not None or None)
    return model


def accelerate(plan: Plan) -> torch.nn.Module:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    state = new_state()
    state["model"], state["optimizer"] = accelerator.prepare(state["model"], state["optimizer"])
    if found := newest(plan.folder, "step_*"):
        accelerator.load_state(str(found))
        state["step"] = int(found.name.removeprefix("step_"))
    for step in steps(state, accelerator.backward):
        plan.after(step)
        if step % EVERY == 0:
            accelerator.save_state(str(plan.folder / f"step_{step}"))
    return accelerator.unwrap_model(state["model"])


def fabric(plan: Plan) -> torch.nn.Module:
    from lightning.fabric import Fabric

    lightning = Fabric(accelerator="cpu", devices=1)
    state = new_state()
    state["model"], state["optimizer"] = lightning.setup(state["model"], state["optimizer"])
    state["random"] = torch.get_rng_state()
    if found := newest(plan.folder, "step-*.ckpt"):
        lightning.load(found, state)
        torch.set_rng_state(state["random"])
    for step in steps(state, lightning.backward):
        plan.after(step)
        if step % EVERY == 0:
            lightning.save(plan.folder / f"step-{step}.ckpt", {**state, "random": torch.get_rng_state()})
    return state["model"].module


def dcp(plan: Plan) -> torch.nn.Module:
    import torch.distributed.checkpoint as checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    state = new_state()

    def saved() -> dict[str, Any]:
        model, optimizer = get_state_dict(state["model"], state["optimizer"])
        return {"model": model, "optimizer": optimizer, "step": state["step"], "random": torch.get_rng_state()}

    if found := newest(plan.folder, "step-*"):
        values = saved()
        checkpoint.load(values, checkpoint_id=found)
        set_state_dict(
            state["model"], state["optimizer"], model_state_dict=values["model"], optim_state_dict=values["optimizer"]
        )
        state["step"] = values["step"]
        torch.set_rng_state(values["random"])
    for step in steps(state, torch.Tensor.backward):
        plan.after(step)
        if step % EVERY == 0:
            checkpoint.save(saved(), checkpoint_id=plan.folder / f"step-{step}")
    return state["model"]


def composer(plan: Plan) -> torch.nn.Module:
    from composer import Callback, ComposerModel
    from composer import Trainer as ComposerTrainer
    from torch.utils.data import DataLoader

    class Model(ComposerModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = new_state()["model"]

        def forward(self, batch: Any) -> Any:
            return self.net(*batch)

        def loss(self, outputs: Any, batch: Any) -> Any:  # noqa: ARG002
            return outputs["loss"]

    class Steps(Callback):  # type: ignore[misc]
        def batch_end(self, state: Any, logger: Any) -> None:  # noqa: ARG002
            plan.after(int(state.timestamp.batch))

    rows = [tuple(one[0] for one in batch(row)) for row in range(400)]
    model = Model()
    run = ComposerTrainer(
        model=model, train_dataloader=DataLoader(rows, batch_size=8), max_duration=f"{NUM_STEPS}ba", seed=0,
        optimizers=torch.optim.AdamW(model.parameters(), lr=1e-3), device="cpu", callbacks=[Steps()],
        run_name="peer", save_folder=str(plan.folder / "save"), save_interval=f"{EVERY}ba", autoresume=True,
        progress_bar=False,
    )  # fmt: skip
    run.fit()
    return model.net


def electrify(plan: Plan) -> torch.nn.Module:
    from common import make_shards
    from common import train as train_electrify

    from electrify.pretraining import step as steps_of

    apply = steps_of.TrainingStep.apply

    def counted(self: Any, *arguments: Any, **settings: Any) -> Any:
        result = apply(self, *arguments, **settings)
        plan.after(self._optimizer.num_updates)
        return result

    steps_of.TrainingStep.apply = counted  # type: ignore[method-assign]
    train_electrify(make_shards(plan.folder.parent), plan.folder / "run", schedule={"num_steps": NUM_STEPS})
    weights = load_file(plan.folder / "run/discriminator/model.safetensors")
    model = torch.nn.Module()
    for name, tensor in weights.items():
        model.register_buffer(name.replace(".", "_"), tensor)
    return model


@dataclass(frozen=True)
class Peer:
    """How somebody's checkpoints lie on the disk; a file that there is not is None."""

    run: Callable[[Plan], torch.nn.Module]
    states: str
    weights: str | None
    optimizer: str | None
    random_state: str | None


PEERS = {
    "electrify": Peer(electrify, "run/state/step-????????", "networks.safetensors", "optimizer.safetensors", None),
    "trainer": Peer(trainer, "out/checkpoint-*", "model.safetensors", "optimizer.pt", "rng_state.pth"),
    "accelerate": Peer(accelerate, "step_*", "model.safetensors", "optimizer.bin", "random_states_0.pkl"),
    "fabric": Peer(fabric, "step-*.ckpt", None, None, None),
    "dcp": Peer(dcp, "step-*", "__0_0.distcp", None, None),
    "composer": Peer(composer, "save/ep*-ba*-rank0.pt", None, None, None),
}
NEEDS = {
    "electrify": "electrify", "trainer": "transformers", "accelerate": "accelerate", "fabric": "lightning",
    "composer": "composer",
}  # fmt: skip
