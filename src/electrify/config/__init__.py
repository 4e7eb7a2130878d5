"""Settings of pre-training, fine-tuning and preparing: what can be set, what it means, its unit and range.

A recipe is a TOML file with the sections of `PretrainConfig`, spelled out in full. The text below each field is its
documentation: it is what `electrify config` prints above the key and what `--help` shows. Nothing here imports torch.
"""

from electrify.config.finetuning import FinetuneConfig, QuestionConfig
from electrify.config.objective import MaskingConfig, ModelConfig, ObjectiveConfig
from electrify.config.preparing import CleaningConfig, ExecutorConfig
from electrify.config.pretraining import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    LoggingConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    TrainingConfig,
)
from electrify.config.section import Section

__all__ = [
    "CheckpointConfig",
    "CleaningConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExecutorConfig",
    "FinetuneConfig",
    "LoggingConfig",
    "MaskingConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "QuestionConfig",
    "ScheduleConfig",
    "Section",
    "TrainingConfig",
]
