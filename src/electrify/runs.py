"""A run's folder: what was asked for, where it ran, and what was measured.

    config.toml        the resolved config; it repeats the run
    environment.json   versions, machine, digest of the data
    metrics.jsonl      one line a record: {"step", "kind": "train" | "validation" | "bad_step", …, "timing": {…}}
    events.out.…       the same for TensorBoard, if it is installed
    state/             saved states
    discriminator/ generator/   the published folders, at the end; of some objectives encoder/

All figures of a line but those under "timing" are the same when the run is repeated or was interrupted.
"""

import json
import logging
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

METRICS = "metrics.jsonl"

_LOG = logging.getLogger(__name__)
_PACKAGES = ("electrify", "torch", "tokenizers", "safetensors", "grain", "numpy")


def describe_environment() -> dict[str, Any]:
    """Return versions of Python and packages, the platform and the number of processors."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
    }


def finite_or_none(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON has not, by None, in nested dictionaries too."""
    return {
        key: finite_or_none(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in values.items()
    }


class _EventWriter(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class MetricsLog:
    """Append records to metrics.jsonl and TensorBoard. A context manager.

    Lines that can not be written, as on a full disk, are kept and written when that is possible again.

    Args:
        folder: The run's folder.
        after_step: Records of later steps, left by an interrupted run, are removed first.
        use_tensorboard: Whether events are written; without the package this is said once and skipped.
    """

    def __init__(self, folder: Path, *, after_step: int = 0, use_tensorboard: bool = True) -> None:
        path = folder / METRICS
        kept = [record for record in read_metrics(folder) if record["step"] <= after_step] if after_step else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("ab", buffering=0)
        self._unwritten = b""
        self._events = _open_events(folder, purge_step=after_step + 1) if use_tensorboard else None

    def write(self, record: dict[str, Any]) -> None:
        """Write one record; NaN becomes null.

        Args:
            record: With "step" and "kind"; numbers become TensorBoard scalars named "kind/key".
        """
        record = finite_or_none(record)
        self._unwritten += json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            self.flush()
        except OSError as problem:
            _LOG.warning("%s: %s. Its lines are kept until they can be written.", self._file.name, problem.strerror)
        if self._events is None:
            return
        try:
            for key, value in {**record, **record.get("timing", {})}.items():
                if isinstance(value, int | float) and key != "step":
                    self._events.add_scalar(f"{record['kind']}/{key}", value, record["step"])
        except OSError as problem:
            _LOG.warning("TensorBoard's events can not be written (%s) and end here.", problem.strerror)
            self._events = None

    def flush(self) -> None:
        """Write all lines that are not yet written.

        Raises:
            OSError: If that is not possible.
        """
        while self._unwritten:
            written = self._file.write(self._unwritten)
            self._unwritten = self._unwritten[written:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._file.close()
            if self._events is not None:
                self._events.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run; an unfinished last line, left by a kill, is passed over."""
    path = folder / METRICS
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            _LOG.warning("%s: an unfinished line was passed over.", path)
    return records


def _open_events(folder: Path, *, purge_step: int) -> _EventWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.warning("TensorBoard is not installed, so only metrics.jsonl is written: pip install 'electrify[report]'.")
        return None
    writer: _EventWriter = SummaryWriter(str(folder), purge_step=purge_step)
    return writer
