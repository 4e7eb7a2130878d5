"""Runs in processes of their own: what goes wrong there is said here, and a signal goes on to them."""

import os
import signal
import threading
import time

import pytest
from support.runs import settings

from electrify.errors import ConfigError, RunStopped
from electrify.training.checkpoints import list_states
from electrify.verbs.apart import pretrain_apart


def test_a_mistake_is_the_same_error_as_in_this_process(shards, tmp_path):
    overrides = settings(shards, model={"num_heads": 3})
    with pytest.raises(ConfigError, match=r"model\.num_heads = 3 does not divide model\.hidden_size = 16"):
        pretrain_apart("tiny", output=tmp_path / "run", overrides=overrides)


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
        pretrain_apart("tiny", output=output, overrides=overrides)
    asking.join()
    assert stopped.value.signal_number == signal.SIGTERM
    assert len(list_states(output / "state")) == 1
