import pytest
from pydantic import BaseModel, ValidationError

from electrify.config import FinetuneConfig, MaskingConfig, PretrainConfig, ScheduleConfig

SECTIONS = [
    PretrainConfig,
    FinetuneConfig,
    *(field.annotation for field in PretrainConfig.model_fields.values() if isinstance(field.annotation, type)),
]
SECTIONS = [section for section in SECTIONS if issubclass(section, BaseModel)]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_says_what_it_means(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert field.description or is_section, name
    assert section.__doc__


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_settings_are_errors(section: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        section.model_validate({"no_such_setting": 1})


def test_settings_do_not_change_once_made() -> None:
    config = PretrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.model.hidden_size = 1


@pytest.mark.parametrize(
    ("section", "name", "good", "bad"),
    [
        (MaskingConfig, "mask_prob", [0.01, 0.99], [0.0, 1.0, -0.1, float("nan")]),
        (MaskingConfig, "mask_token_prob", [0.0, 1.0], [-0.1, 1.1]),
        (ScheduleConfig, "warmup_share", [0.0, 1.0], [-0.1, 1.1]),
        (ScheduleConfig, "decay_share", [0.01], [0.0, 1.0]),
        (ScheduleConfig, "budget_minutes", [None, 0.1], [0.0, -1.0, float("inf")]),
        (ScheduleConfig, "num_steps", [1], [0, 1.5, "many"]),
        (FinetuneConfig, "layerwise_lr_decay", [0.1, 1.0], [0.0, 1.1]),
        (FinetuneConfig, "dropout", [0.0, 0.9], [1.0, -0.1]),
        (PretrainConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    ],
)
def test_ranges_end_where_they_say(section: type[BaseModel], name: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert getattr(section.model_validate({name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError):
            section.model_validate({name: value})


def test_finetuning_defaults_are_the_published_ones() -> None:
    config = FinetuneConfig()
    assert (config.learning_rate, config.layerwise_lr_decay, config.batch_size) == (1e-4, 0.8, 32)
    assert (config.num_epochs, config.max_length, config.warmup_share) == (3, 128, 0.1)
    assert config.weight_decay == 0.01
