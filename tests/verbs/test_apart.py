"""Runs in processes of their own: what goes wrong there is said here, and a signal goes on to them."""

import os
import signal
import threading
import time

import pytest
from support.runs import settings

from electrify.errors import ConfigError, RunStopped
from electrify.training.checkpoints import list_states
from electrify.verbs.apart import Work, run_apart


def test_a_mistake_is_the_same_error_as_in_this_process(shards, tmp_path):
    overrides = settings(shards, model={"num_heads": 3})
    with pytest.raises(ConfigError, match=r"model\.num_heads = 3 does not divide model\.hidden_size = 16"):
        run_apart([Work("run", "tiny", str(tmp_path / "run"), overrides)])


def test_a_signal_is_passed_on_and_the_run_saves_itself(shards, tmp_path):
    output = tmp_path / "run"

    def ask_for_an_end() -> None:
        while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_for_an_end, daemon=True)
    asking.start()
    overrides = settings(shards, schedule={"num_steps": 1_000_000}, checkpoint={"every_steps": 1_000_000})
    with pytest.raises(RunStopped, match=r"stopped by SIGTERM after step \d+, which is saved") as stopped:
        run_apart([Work("run", "tiny", str(output), overrides)])
    asking.join()
    assert stopped.value.signal_number == signal.SIGTERM
    assert len(list_states(output / "state")) == 1


def test_what_goes_wrong_with_one_ends_the_others_which_save_themselves(shards, tmp_path):
    endless = settings(shards, schedule={"num_steps": 1_000_000}, checkpoint={"every_steps": 1_000_000})
    outputs = [tmp_path / name for name in "abc"]
    works = [Work(output.name, "tiny", str(output), endless) for output in outputs]

    def fail_when_two_have_begun() -> None:
        if all((output / "metrics.jsonl").exists() for output in outputs[:2]):
            raise ConfigError("something of the third")

    with pytest.raises(ConfigError, match="of the third"):
        run_apart(works, jobs=2, tick=fail_when_two_have_begun)
    assert [len(list_states(output / "state")) for output in outputs[:2]] == [1, 1]
    assert not outputs[2].exists()
