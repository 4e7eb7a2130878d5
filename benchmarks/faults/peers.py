"""The same faults for electrify and for what people train with instead: who goes on, from where, and with what result.

    python benchmarks/faults/peers.py [electrify] [trainer] [accelerate] [fabric] [dcp] [--rounds 3]

Each trains a small network with dropout, saves every 4 steps as its documentation shows it, and is stopped after step
14; then something is done to its newest checkpoint, and it is started again in its documented way. Fabric and plain DCP
save what they are given, so torch's random state is given to them too. "Killed while saving" means that the kernel ends
the process in the middle of a file (SIGXFSZ at a limit of file size) while it saves step 12; it does so in the weights
and, where they are a larger file of their own, in the optimizer's means.

*Equal* means the weights of a run that nothing disturbed, bit for bit. Needs what it is asked about: `pip install
transformers accelerate lightning`.
"""

import argparse
import hashlib
import importlib.util
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import fork, make_shards, wait
from common import train as train_electrify
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


def electrify(plan: Plan) -> torch.nn.Module:
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
}
NEEDS = {"trainer": "transformers", "accelerate": "accelerate", "fabric": "lightning"}


def start(peer: Peer, plan: Plan) -> int:
    """Run in a process of its own; what it says goes into `said`, a digest of its weights into `digest`."""

    def action() -> None:
        said = os.open(plan.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        model = peer.run(plan)
        digest = hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in model.state_dict().values()))
        (plan.folder / "digest").write_text(digest.hexdigest())

    plan.folder.mkdir(parents=True, exist_ok=True)
    for name in ("digest", "resumed"):
        (plan.folder / name).unlink(missing_ok=True)
    return wait(fork(action))


def verdict(peer: Peer, folder: Path, expected: str, touched: str) -> str:
    """Start a run again and say what came of it."""
    if start(peer, Plan(folder)):
        lines = (folder / "said").read_text(errors="replace").strip().splitlines()
        return f"stops: {lines[-1].replace(str(folder), '…')[:90]}" if lines else "stops"
    resumed, is_equal = (folder / "resumed").read_text(), (folder / "digest").read_text() == expected
    is_named = bool(touched) and touched in (folder / "said").read_text(errors="replace")
    result = "equal" if is_equal else "other weights"
    return f"goes on from step {resumed}{', names the file' if is_named else ', says nothing'}: {result}"


def file_of(peer: Peer, folder: Path, name: str | None) -> Path | None:
    state = newest(folder, peer.states)
    assert state is not None
    return state if state.is_file() else (state / name if name else None)


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content) // 4, len(content) * 3 // 4)] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


def try_peer(name: str, folder: Path, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield faults with what came of them."""
    peer = PEERS[name]
    assert start(peer, Plan(folder / "whole")) == 0, (folder / "whole/said").read_text()
    expected = (folder / "whole/digest").read_text()
    assert start(peer, Plan(folder / "clean", stops=True)) == 0
    sizes = [path.stat().st_size for key in (peer.weights, peer.optimizer)
             if (path := file_of(peer, folder / "clean", key)) is not None]  # fmt: skip
    yield "stopped between two steps", verdict(peer, folder / "clean", expected, "")
    limits = {"killed in the file of the weights": sizes[0] // 2}
    if len(sizes) == 2 and sizes[1] > sizes[0] and peer.optimizer:
        limits["killed in the file of the optimizer"] = sum(sizes) // 2
    for fault, limit in limits.items():
        code = start(peer, Plan(folder / fault, limit_bytes=limit))
        assert code == -signal.SIGXFSZ, (fault, code, (folder / fault / "said").read_text()[-500:])
        yield fault, verdict(peer, folder / fault, expected, "")
    for fault, missing in (
        ("optimizer file deleted", peer.optimizer),
        ("random-state file deleted", peer.random_state),
    ):
        if missing is None:
            yield fault, "there is none"
            continue
        assert start(peer, Plan(folder / fault, stops=True)) == 0
        path = file_of(peer, folder / fault, missing)
        assert path is not None
        path.unlink()
        yield fault, verdict(peer, folder / fault, expected, missing)
    for number in range(rounds):
        place = folder / f"flip-{number}"
        assert start(peer, Plan(place, stops=True)) == 0
        path = file_of(peer, place, peer.weights)
        assert path is not None
        flip(path, random.Random(number))
        yield f"one bit of the weights flipped, {number + 1}", verdict(peer, place, expected, path.name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peers", nargs="*", default=list(PEERS), choices=[*PEERS, []])
    parser.add_argument("--rounds", type=int, default=3, help="bits flipped, one a round")
    arguments = parser.parse_args()
    for name in arguments.peers or PEERS:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name}: not installed (pip install {NEEDS[name]})")
            continue
        with tempfile.TemporaryDirectory() as folder:
            make_shards(Path(folder)) if name == "electrify" else None
            for fault, found in try_peer(name, Path(folder), arguments.rounds):
                print(f"{name:10}  {fault:38}  {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
