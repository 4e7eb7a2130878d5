import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from electrify import recipes
from electrify.errors import ConfigError
from electrify.models.config_json import read_config
from electrify.models.electra import ElectraConfig
from electrify.recipes import load_recipe, parse_config, recipe_names, render
from electrify.verbs.pretrain import pretrain

FOLDER = Path(recipes.__file__).parent
NAMES = [path.stem for path in sorted(FOLDER.glob("*.toml"))]

# layers, width, feed-forward width, heads, embedding size, generator's share of the width, masked share, rows,
# learning rate, steps: Clark et al. 2020, table 6, with the sizes of the code.
PUBLISHED = {
    "paper-small": (12, 256, 1024, 4, 128, 1 / 4, 0.15, 128, 5e-4, 1_000_000),
    "paper-base": (12, 768, 3072, 12, 768, 1 / 3, 0.15, 256, 2e-4, 766_000),
    "paper-large": (24, 1024, 4096, 16, 1024, 1 / 4, 0.25, 2048, 2e-4, 400_000),
}
PAPER = [*PUBLISHED, "paper-tiny", "paper-mini"]
"""The last two are the original's settings at sizes that a laptop trains."""


def test_names_are_those_of_the_files() -> None:
    assert recipe_names() == NAMES
    assert set(PAPER) | {"tiny", "mini", "small"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_is_spelled_out_in_full(name: str) -> None:
    assert (FOLDER / f"{name}.toml").read_text(encoding="utf-8") == render(load_recipe(name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_paper_recipe_has_the_published_figures(name: str) -> None:
    config = load_recipe(name)
    model, schedule = config.model, config.schedule
    assert (
        model.num_layers,
        model.hidden_size,
        model.intermediate_size,
        model.num_heads,
        model.embedding_size,
        model.generator_hidden_ratio,
        config.masking.mask_prob,
        config.training.batch_size,
        config.optimizer.learning_rate,
        schedule.num_steps,
    ) == PUBLISHED[name]
    assert schedule.warmup_share * schedule.num_steps == pytest.approx(10_000)


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipe_has_what_all_published_sizes_share(name: str) -> None:
    config = load_recipe(name)
    optimizer = config.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.999, 1e-6)
    assert (optimizer.weight_decay, optimizer.max_grad_norm) == (0.01, 1.0)
    assert (config.model.dropout, config.model.attention_dropout) == (0.1, 0.1)
    assert (config.objective.gen_weight, config.objective.disc_weight, config.objective.temperature) == (1, 50, 1)
    assert config.masking.mask_token_prob == 0.85
    assert config.model.body == "electra"
    assert config.model.generator_layer_ratio == 1.0


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipe_switches_on_every_quirk_of_the_original(name: str) -> None:
    config = load_recipe(name)
    assert config.optimizer.bias_correction is False
    assert config.schedule.kind == "linear_times_warmup"
    assert config.masking.share_of == "all_tokens"
    assert config.masking.draw == "with_replacement"
    assert config.model.embedding_sharing == "all"
    assert config.model.head_init == "glorot"


@pytest.mark.parametrize("name", ["paper-tiny", "paper-mini"])
def test_scaled_paper_recipe_keeps_the_heads_of_64_and_the_share_of_the_warm_up(name: str) -> None:
    config = load_recipe(name)
    assert config.model.hidden_size == 64 * config.model.num_heads
    assert config.model.hidden_size * config.model.generator_hidden_ratio == 64  # one head; there is no less
    assert config.model.intermediate_size == 4 * config.model.hidden_size
    assert config.schedule.warmup_share == load_recipe("paper-small").schedule.warmup_share
    assert config.optimizer == load_recipe("paper-small").optimizer


@pytest.mark.parametrize("name", ["paper-tiny", "paper-mini"])
def test_scaled_paper_recipe_takes_steps(name: str, shards: Path, tmp_path: Path) -> None:
    overrides = {
        "data": {"path": str(shards)},
        "schedule": {"num_steps": 2},
        "training": {"batch_size": 2},
        "evaluation": {"num_rows": 4},
        "logging": {"tensorboard": False},
    }
    report = pretrain(name, output=tmp_path / "run", overrides=overrides)
    assert report.steps == 2
    assert report.validation["gen_loss"] > 0
    discriminator = read_config(tmp_path / "run/discriminator")
    assert isinstance(discriminator, ElectraConfig)
    assert discriminator.hidden_size == load_recipe(name).model.hidden_size


@pytest.mark.parametrize("name", ["tiny", "mini", "small"])
def test_modern_recipe_has_no_quirk_of_the_original(name: str) -> None:
    config = load_recipe(name)
    assert config.optimizer.bias_correction is True
    assert config.schedule.kind != "linear_times_warmup"
    assert (config.masking.share_of, config.masking.draw) == ("candidates", "distinct")
    assert config.model.head_init == "normal"


def test_overrides_replace_single_values_and_leave_their_neighbours() -> None:
    base = load_recipe("tiny")
    config = load_recipe("tiny", {"optimizer": {"learning_rate": 0.5}, "seed": 3})
    assert config == base.model_copy(
        update={"seed": 3, "optimizer": base.optimizer.model_copy(update={"learning_rate": 0.5})}
    )


def test_minutes_replace_the_steps_of_a_recipe_but_not_those_given_with_them(tmp_path: Path) -> None:
    minutes: dict[str, Any] = {"schedule": {"budget_minutes": 2.0}}
    assert load_recipe("tiny").schedule.num_steps == 2_500
    assert load_recipe("tiny", minutes).schedule.num_steps == 10_000_000
    assert load_recipe("tiny", {"schedule": {"budget_minutes": 2.0, "num_steps": 7}}).schedule.num_steps == 7
    own = tmp_path / "own.toml"
    own.write_text("[schedule]\nbudget_minutes = 3.0\n")
    assert load_recipe(own).schedule.num_steps == 10_000_000
    own.write_text("[schedule]\nbudget_minutes = 3.0\nnum_steps = 7\n")
    assert load_recipe(own).schedule.num_steps == 7
    assert load_recipe(own, {"schedule": {"warmup_share": 0.5}}).schedule.num_steps == 7
    assert load_recipe(own, minutes).schedule.num_steps == 10_000_000
    own.write_text(render(load_recipe("tiny", minutes)))
    assert load_recipe(own) == load_recipe(own, minutes) == load_recipe("tiny", minutes)


def test_rendered_config_reads_back_as_itself(tmp_path: Path) -> None:
    path = 'a "strange"\\path\n\x7f with ü, 数 and 🐄'
    config = load_recipe("tiny", {"data": {"path": path}, "schedule": {"budget_minutes": 1e-7}, "seed": 2**63 - 1})
    (tmp_path / "own.toml").write_text(render(config), encoding="utf-8")
    assert load_recipe(tmp_path / "own.toml") == config


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_rendered_config_stands_below_its_meaning(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    keys = [index for index, line in enumerate(lines) if re.match(r"(# )?\w+ =( |$)", line)]
    assert len(keys) > 40
    for index in keys:
        assert re.match(r"# .+\.$", lines[index - 1]), lines[index]


def test_no_line_of_a_recipe_is_too_long_to_read() -> None:
    for name in NAMES:
        for line in (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines():
            assert len(line) <= 120


def test_own_recipe_may_leave_out_what_it_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[optimizer]\nlearning_rate = 0.25\n")
    assert load_recipe(tmp_path / "own.toml").optimizer.learning_rate == 0.25


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'paper-smal'.*Did you mean 'paper-small'\?"):
        load_recipe("paper-smal")


def test_recipe_that_is_not_toml_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[model\n")
    with pytest.raises(ConfigError, match=r"own\.toml: not valid TOML .*line 1"):
        load_recipe(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"own\.toml: not valid TOML"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser": {}}, "unknown setting 'optimiser'. Did you mean 'optimizer'?"),
        ({"model": {"hiden_size": 4}}, "unknown setting 'model.hiden_size'. Did you mean 'hidden_size'?"),
        ({"model": {"hidden_size": "wide"}}, "model.hidden_size: input should be a valid integer"),
        ({"model": {"hidden_size": 0}}, "model.hidden_size: input should be greater than 0, got 0."),
        ({"masking": {"mask_prob": 1.0}}, "masking.mask_prob: input should be less than 1, got 1.0."),
        ({"schedule": {"kind": "cosin"}}, "schedule.kind: input should be 'linear', 'linear_times_warmup', 'cosine'"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate: input should be"),
        ({"optimizer": {"bias_correction": "maybe"}}, "optimizer.bias_correction: input should be a valid boolean"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1."),
        ({"data": 3}, "data: input should be a valid dictionary"),
    ],
)
def test_wrong_setting_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, source="own.toml")
    text = str(caught.value)
    assert text.startswith(f"own.toml: {message}")
    assert "\n" not in text


def test_recipes_are_toml_that_others_read() -> None:
    for name in NAMES:
        assert tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))["seed"] == 0
