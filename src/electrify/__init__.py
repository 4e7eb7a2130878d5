"""Train text encoders by replaced token detection: from raw text to a published, fine-tuned model.

The verbs of the command line are functions here; each returns data. Importing this package loads nothing heavy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "build_tokenizer": "tokenizer",
    "prepare": "prepare",
    "pretrain": "pretrain",
    "detect": "detect",
    "fill": "fill",
    "generate": "generate",
    "score": "score",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "predict": "predict",
    "run_suite": "suite",
    "run_together": "suite",
    "finetune_together": "together",
    "write_submission": "submit",
    "classify_zero": "classify_zero",
    "augment": "augment",
    "probe": "probe",
    "tune": "tune",
    "compare": "compare",
    "import_tensorflow": "import_tensorflow",
}

__all__ = ["__version__", *_VERBS]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(import_module(f"electrify.verbs.{_VERBS[name]}"), name)
    raise AttributeError(f"module 'electrify' has no attribute '{name}'")
