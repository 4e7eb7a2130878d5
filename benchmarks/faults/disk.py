"""Fill the disk under a run, take its permission away, and stop it with signals.

    python benchmarks/faults/disk.py

As root on Linux: a tmpfs that is too small, one that is read-only. Else the full disk is a limit on file sizes.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import fingerprint, make_shards, train
from forking import fork, wait

from electrify.training.checkpoints import find_newest_state


def with_words(action: Callable[[], None], words: Path) -> int:
    """Do something in a process whose words go to a file; returns its exit code."""

    def redirected() -> None:
        with words.open("w") as file:
            os.dup2(file.fileno(), 2)
            action()

    return wait(fork(redirected))


def report(what: str, *facts: bool, words: Path) -> None:
    said = [line for line in words.read_text().splitlines() if line.strip()]
    print(f"{'passed' if all(facts) else f'FAILED {facts}'}: {what}")
    for line in said[:1]:
        print(f"        {line[:230]}")


def mounted(folder: Path, options: str) -> Path:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    return folder


def try_full_disk(folder: Path, shards: Path, expected: tuple[str, str]) -> None:
    words = folder / "words"
    small = mounted(folder / "small", "size=1700k")
    try:
        code = with_words(lambda: train(shards, small / "run", checkpoint={"keep_last": 100}), words)
        newest = find_newest_state(small / "run" / "state")
        text = words.read_text()
        is_one_line = text.count("CheckpointError") == 1 and "Traceback" not in text
        report(
            f"disk full while saving, on_save_error = stop: exit {code}, newest good state {newest and newest.name}",
            code == 1, newest is not None, is_one_line, "No space left" in text, words=words,
        )  # fmt: skip
        subprocess.run(["mount", "-o", "remount,size=60m", str(small)], check=True)
        code = with_words(lambda: train(shards, small / "run", checkpoint={"keep_last": 2}), words)
        same = fingerprint(small / "run") == expected
        report("room made, resumed: equal bit for bit", code == 0, same, words=words)
        shutil.rmtree(small / "run")
        subprocess.run(["mount", "-o", "remount,size=1700k", str(small)], check=True)
        options = {"keep_last": 100, "on_save_error": "continue"}
        process = fork(lambda: with_words(lambda: train(shards, small / "run", checkpoint=options), words))
        deadline = time.monotonic() + 30
        while "can not be saved" not in (words.read_text() if words.exists() else "") and time.monotonic() < deadline:
            time.sleep(0.001)
        subprocess.run(["mount", "-o", "remount,size=60m", str(small)], check=True)
        wait(process)
        same = fingerprint(small / "run") == expected
        report("disk full for a while, on_save_error = continue: equal bit for bit", same, words=words)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def try_read_only(folder: Path, shards: Path) -> None:
    words = folder / "words"
    place = mounted(folder / "read-only", "size=60m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        command = [sys.executable, "-m", "electrify", "pretrain", "tiny", f"--output={place}/run"]
        done = subprocess.run([*command, f"--data.path={shards}"], capture_output=True, text=True, check=False)
        words.write_text(done.stderr)
        lines = done.stderr.splitlines()
        report("read-only folder: exit 2, one line", done.returncode == 2, len(lines) == 1, words=words)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def try_no_permission(folder: Path, shards: Path) -> None:
    words, place = folder / "words", folder / "forbidden"
    place.mkdir(mode=0o500)
    folder.chmod(0o755)

    def as_nobody() -> None:
        os.setuid(65534)
        train(shards, place / "run")

    code = with_words(as_nobody, words)
    report("no permission", code == 1, "Permission denied" in words.read_text(), words=words)


def try_size_limit(folder: Path, shards: Path) -> None:
    words = folder / "words"

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        train(shards, folder / "limited")

    code = with_words(limited, words)
    text = words.read_text()
    report("no file over 60 kB may be written: one line", code == 1, "can not be saved" in text, words=words)


def try_signals(folder: Path, shards: Path) -> None:
    words = folder / "words"
    for number, code, times in ((signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 1), (signal.SIGTERM, -15, 2)):
        output = folder / f"{number.name}-{times}"
        command = [sys.executable, "-m", "electrify", "pretrain", "tiny", f"--output={output}", "--json"]
        options = [f"--data.path={shards}", "--logging.every-steps=1", "--logging.tensorboard=false"]
        options.append("--model.embedding-init=normal")  # neighbours need more words than the width has dimensions
        with words.open("w") as file:
            process = subprocess.Popen([*command, *options], stderr=file, stdout=subprocess.DEVNULL)
        log = output / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while (not log.exists() or log.read_text().count("\n") < 5) and time.monotonic() < deadline:
            time.sleep(0.01)
        started = time.monotonic()
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.0002)
        found = process.wait()
        states = list((output / "state").glob("step-????????")) if (output / "state").exists() else []
        what = f"{number.name} × {times}: exit {found} after {time.monotonic() - started:.2f} s"
        report(what, found == code, bool(states) == (times == 1), words=words)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make_shards(folder)
        assert wait(fork(lambda: train(shards, folder / "undisturbed"))) == 0
        expected = fingerprint(folder / "undisturbed")
        if os.geteuid() == 0:
            try_full_disk(folder, shards, expected)
            try_read_only(folder, shards)
            try_no_permission(folder, shards)
        try_size_limit(folder, shards)
        try_signals(folder, shards)


if __name__ == "__main__":
    main()
