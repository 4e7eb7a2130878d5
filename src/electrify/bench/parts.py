"""Where the time of a training step goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from electrify.objectives.rtd import ReplacedTokenDetection

PARTS = ("masking", "generator", "vocabulary", "discriminator", "loss", "backward", "optimizer")


class Stopwatch:
    """Splits a step at the places where one part ends and the next begins.

    Args:
        device: A GPU is waited for at each split.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = 0.0
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def start(self) -> None:
        """Begin a step."""
        self._last = self._now()

    def end(self, part: str) -> None:
        """Count the time since the last split as that of `part`."""
        now = self._now()
        self.seconds[part] += now - self._last
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @contextmanager
    def watching(self, rtd: ReplacedTokenDetection) -> Iterator[None]:
        """Split the forward pass too, at the networks' own calls.

        What lies between the generator's body and the discriminator is the vocabulary: head, loss, samples and, as it
        is computed there, their gradient.
        """

        def ending(part: str) -> Any:
            return lambda *_: self.end(part)

        hooks = [
            rtd.generator.body.register_forward_pre_hook(ending("backward")),  # of the micro-batch before
            rtd.generator.body.register_forward_hook(ending("generator")),
            rtd.discriminator.register_forward_pre_hook(ending("vocabulary")),
            rtd.discriminator.register_forward_hook(ending("discriminator")),
            rtd.register_forward_hook(ending("loss")),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
