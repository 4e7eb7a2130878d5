"""Comparisons from end to end on toy data, and what is wrong with their files."""

import csv
import json
import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.corpora import write_rows
from support.tasks import write_task

from electrify import cli
from electrify.errors import ConfigError, TrainingError
from electrify.tasks import bootstrap as examples
from electrify.tasks import classification
from electrify.tasks.judgement import Judgement, read_columns
from electrify.verbs import apart
from electrify.verbs.compare import compare
from electrify.verbs.comparison_file import comparison_names, load_comparison
from electrify.verbs.comparison_tests import Run, compare_means

SUITE = """
name = "toys"
[settings]
max_length = 24
num_epochs = 1
batch_size = 16
precision = "fp32"
[[task]]
name = "animals"
kind = "classification"
train = "classification.jsonl"
valid = "classification.jsonl"
[[task]]
name = "places"
kind = "tagging"
train = "tagging.jsonl"
valid = "tagging.jsonl"
metric = "accuracy"
[[task]]
name = "queries"
kind = "ranking"
train = "ranking.jsonl"
valid = "ranking.jsonl"
fields = { text = "query", text_b = "candidate" }
shown = ["map", "mrr"]
"""
COMPARISON = """
name = "toy objectives"
seeds = [0, 1]
[budget]
flops = 2e8
[evaluation]
suite = "toys.toml"
[shared]
recipe = "tiny"
[shared.model]
hidden_size = 16
num_layers = 2
num_heads = 2
intermediate_size = 24
max_positions = 32
local_attention = 8
embedding_init = "normal"
share_layers = false
[shared.training]
batch_size = 8
precision = "fp32"
[shared.evaluation]
num_rows = 16
[shared.logging]
tensorboard = false
[shared.checkpoint]
every_steps = 4
[[variant]]
name = "rtd"
[[variant]]
name = "mlm"
objective = { kind = "mlm" }
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    for kind in ("classification", "tagging", "ranking"):
        write_task(kind, folder / f"{kind}.jsonl", num_examples=32)
    (folder / "toys.toml").write_text(SUITE)
    (folder / "comparison.toml").write_text(COMPARISON)
    return folder


@pytest.fixture(scope="module")
def whole(toys: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("compared") / "whole"
    return compare(toys / "comparison.toml", data=shards, tasks=toys, output=output)


def results(report: Any) -> list[Any]:
    """What must not depend on interruptions."""
    return [
        (run.variant, run.seed, run.steps, run.tokens, run.scores, run.validation, run.curve) for run in report.runs
    ]


def test_variants_cost_the_same_and_are_judged_alike(whole: Any) -> None:
    assert [(run.variant, run.seed) for run in whole.runs] == [("rtd", 0), ("rtd", 1), ("mlm", 0), ("mlm", 1)]
    rtd, mlm = whole.of("rtd")[0], whole.of("mlm")[0]
    assert mlm.steps > rtd.steps
    for run in whole.runs:
        one_step = run.flops / run.steps
        assert abs(run.flops - 2e8) <= one_step / 2
        assert run.scores.keys() == {"animals", "places", "queries"}
        assert run.curve[-1]["flops"] == run.flops
        assert len(run.curve) >= 10
    assert [(test.variant, test.task, test.num_seeds) for test in whole.tests] == [
        ("mlm", task, 2) for task in ("animals", "places", "queries", "mean")
    ]


def test_files_of_the_report_hold_the_same_figures(whole: Any) -> None:
    folder = Path(whole.output)
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [float(row["mean"]) for row in rows] == [run.mean for run in whole.runs]
    curve = list(csv.DictReader((folder / "figures/disc_auc.csv").read_text().splitlines()))
    assert {row["variant"] for row in curve} == {"rtd"}
    text = (folder / "report.md").read_text()
    assert "2 seeds are few" in text
    assert "| mlm |" in text


def test_memory_of_a_run_is_that_of_its_own_process(whole: Any) -> None:
    block = b"x" * 400_000_000  # in this process, which is no business of the run's
    for run in whole.runs:
        assert run.peak_bytes is not None
        assert 1_000_000 < run.peak_bytes < len(block)
        results = json.loads((Path(whole.output) / f"runs/{run.variant}/seed-{run.seed}/results.json").read_text())
        assert results["peak_bytes"] == run.peak_bytes
    rows = csv.DictReader((Path(whole.output) / "table.csv").read_text().splitlines())
    assert [int(row["peak_bytes"]) for row in rows] == [run.peak_bytes for run in whole.runs]
    assert "peak MB" in (Path(whole.output) / "report.md").read_text()


def test_examples_are_drawn_anew_for_both_sides_at_once(whole: Any) -> None:
    for test in whole.tests:
        assert test.examples.value == pytest.approx(test.difference)
        assert test.examples.low <= test.examples.value <= test.examples.high
        assert 0 <= test.examples_p <= 1
    folder = Path(whole.output)
    sides = []
    for variant in ("mlm", "rtd"):
        files = sorted((folder / "scores").glob(f"{variant}.seed-*/animals/judgements/seed-*-validation.safetensors"))
        assert len(files) == 2
        sides.append([Judgement(read_columns(file), classification.formula) for file in files])
    found = examples.compare(*sides, metric="accuracy", part="validation")
    assert whole.tests[0].examples == found.difference
    rows = list(csv.DictReader((folder / "figures/tests.csv").read_text().splitlines()))
    assert float(rows[0]["examples_low"]) == found.difference.low
    assert float(rows[0]["examples_p"]) == found.p_value


def test_a_comparison_whose_run_was_killed_goes_on_where_it_was(
    whole: Any, toys: Path, shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole.output, output)
    shutil.rmtree(output / "runs/mlm/seed-1")
    shutil.rmtree(output / "scores/mlm.seed-1")
    (output / "report.md").unlink()
    first = output / "runs/rtd/seed-0/results.json"
    before = first.stat().st_mtime_ns
    states = output / "runs/mlm/seed-1/state"
    killed = threading.Event()

    def kill_after_a_state() -> None:
        while not list(states.glob("step-*/manifest.json")):
            time.sleep(0.01)
        lock = json.loads((states.parent / "lock").read_text())
        os.kill(lock["pid"], signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill_after_a_state, daemon=True).start()
    options = {"data": shards, "tasks": toys, "output": output}
    with pytest.raises(TrainingError, match=r"ended with code -9\. Perhaps it was out of memory"):
        compare(toys / "comparison.toml", **options)
    assert killed.wait(5)
    assert not (states.parent / "results.json").exists()
    assert not (output / "report.md").exists()
    again = compare(toys / "comparison.toml", **options)
    assert first.stat().st_mtime_ns == before
    assert results(again) == results(whole)


def test_a_finished_comparison_trains_nothing_and_refuses_another(
    whole: Any, toys: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(apart, "_Child", fail)
    options = {"data": shards, "tasks": toys, "output": whole.output}
    assert results(compare(toys / "comparison.toml", **options)) == results(whole)
    other = toys / "other.toml"
    other.write_text(COMPARISON.replace("2e8", "3e8"))
    with pytest.raises(ConfigError, match="begun with other budget"):
        compare(other, **options)
    other.write_text(COMPARISON.replace("intermediate_size = 24", "intermediate_size = 25"))
    with pytest.raises(ConfigError, match="the run was started with"):
        compare(other, **options)
    with pytest.raises(ConfigError, match="exists already and is no comparison"):
        compare(toys / "comparison.toml", **options | {"output": toys})
    changed = toys.parent / "changed"
    shutil.copytree(toys, changed)
    write_task("classification", changed / "classification.jsonl", num_examples=32, seed=1)
    with pytest.raises(ConfigError, match="begun with other task files"):
        compare(toys / "comparison.toml", **options | {"tasks": changed})


def test_tokens_and_minutes_are_budgets_too(toys: Path, shards: Path, tmp_path: Path) -> None:
    file = toys / "short.toml"
    short = COMPARISON.replace("seeds = [0, 1]", "seeds = [3]")
    file.write_text(short.replace("flops = 2e8", "tokens = 800"))
    report = compare(file, data=shards, tasks=toys, output=tmp_path / "tokens")
    assert {run.steps for run in report.runs} == {report.runs[0].steps}
    assert report.runs[0].tokens == pytest.approx(800, rel=0.2)
    assert all(test.p_value is None for test in report.tests)
    file.write_text(short.replace("flops = 2e8", "minutes = 0.005"))
    report = compare(file, data=shards, tasks=toys, output=tmp_path / "minutes")
    assert all(0.3 <= run.seconds < 3 for run in report.runs)


def test_runs_side_by_side_come_to_the_same(
    whole: Any, toys: Path, shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 * threads)  # two runs at a time have as many each as one run of `whole` had
    try:
        report = compare(toys / "comparison.toml", data=shards, tasks=toys, output=tmp_path / "out", jobs=2)
    finally:
        torch.set_num_threads(threads)
    assert results(report) == results(whole)
    assert "4 of 4 runs are to be done" in caplog.text
    assert "mlm.seed-1: begins, 4 of 4" in caplog.text


def test_minutes_are_not_shared(toys: Path, shards: Path, tmp_path: Path) -> None:
    file = toys / "clock.toml"
    file.write_text(COMPARISON.replace("flops = 2e8", "minutes = 0.005"))
    with pytest.raises(ConfigError, match="Leave out --jobs, or set flops or tokens"):
        compare(file, data=shards, tasks=toys, output=tmp_path / "out", jobs=2)
    with pytest.raises(ConfigError, match="jobs must be at least 1, got 0"):
        compare(file, data=shards, tasks=toys, output=tmp_path / "out", jobs=0)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_page(whole: Any, toys: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(toys / "comparison.toml"), "--data.path", str(shards)]
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--tasks", str(toys), "--output", whole.output, "--json"])
    assert not end.value.code
    shown = json.loads(capsys.readouterr().out)
    assert [run["flops"] for run in shown["runs"]] == [run.flops for run in whole.runs]
    page = (Path(whole.output) / "report.html").read_text()
    assert "Discriminator&#39;s AUC" in page
    assert page.count("<svg") >= 4


def test_shipped_comparisons_can_be_read_and_are_named_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert comparison_names() == [
        "body",
        "families",
        "generator-size",
        "masking",
        "objectives",
        "objectives-mini",
        "optimization",
        "recipe",
        "sizes",
    ]
    for name in comparison_names():
        plan, suite = load_comparison(name)
        assert len(plan.variant) >= 5
        assert len(suite.task) == 6
    with pytest.raises(SystemExit):
        cli.main(["compare", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in comparison_names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("flops = 2e8", ""), r"exactly one of flops, minutes and tokens, got none"),
        (("flops = 2e8", "flops = 2e8\ntokens = 5"), "got flops and tokens"),
        (("flops = 2e8", "flop = 2e8"), r"unknown setting 'budget.flop'. Did you mean 'flops'"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), "seeds names a seed twice"),
        (("seeds = [0, 1]", "seed = [0, 1]"), r"unknown setting 'seed'. Did you mean 'seeds'"),
        (
            ('objective = { kind = "mlm" }', 'objectiv = { kind = "mlm" }'),
            r"unknown.*objectiv'. Did you mean 'objective'",
        ),
        (
            ('objective = { kind = "mlm" }', 'objective = { knd = "mlm" }'),
            r"variant mlm: .*'objective.knd'. Did you mean",
        ),
        (('objective = { kind = "mlm" }', "schedule = { num_steps = 5 }"), r"follows from \[budget\]"),
        (('objective = { kind = "mlm" }', 'data = { path = "x" }'), "follows from --data.path"),
        (('name = "mlm"', 'name = "rtd"'), "two variants are called 'rtd'"),
        (('name = "mlm"', 'name = "../mlm"'), "variant.1.name"),
        (('recipe = "tiny"', 'recipe = "tny"'), r"no recipe 'tny'.*Did you mean 'tiny'"),
        (('recipe = "tiny"', ""), "names no recipe"),
        (('suite = "toys.toml"', 'suite = "gleu"'), r"no suite 'gleu'.*Did you mean 'glue'"),
        (
            ('suite = "toys.toml"', 'suite = "toys.toml"\nonly = ["animal"]'),
            r"no task 'animal'. Did you mean 'animals'",
        ),
        (('suite = "toys.toml"', 'suite = "toys.toml"\nsettings = {num_epoch = 2}'), "num_epoch'. Did you mean"),
        (('name = "rtd"', "name = rtd"), "not valid TOML"),
        (('suite = "toys.toml"', 'suite = "after.toml"\nonly = ["places"]'), "network of animals; add it to `only`"),
    ],
)
def test_mistake_in_a_comparison_is_named(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "toys.toml").write_text(SUITE)
    (tmp_path / "after.toml").write_text(SUITE.replace('name = "places"', 'name = "places"\nafter = "animals"'))
    (tmp_path / "comparison.toml").write_text(COMPARISON.replace(*change, 1))
    with pytest.raises(ConfigError, match=message):
        load_comparison(tmp_path / "comparison.toml")


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ('optimizer = { kind = "schedule-free", ema_decay = 0.9 }', "is an average already; leave out"),
        ('objective = { kind = "hybrid" }\nmasking = { adaptive = 0.5 }', "does not read masking.adaptive"),
        ("training = { batch_size_start = 2 }", "training.batch_size_start = 2 has no effect"),
    ],
)
def test_variant_that_can_not_be_trained_is_named_before_training(
    variant: str, message: str, toys: Path, shards: Path, tmp_path: Path
) -> None:
    wrong = toys / "wrong.toml"
    wrong.write_text(f'{COMPARISON}\n[[variant]]\nname = "wrong"\n{variant}\n')
    with pytest.raises(ConfigError, match=f"variant wrong: .*{message}"):
        compare(wrong, data=shards, tasks=toys, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_of_a_run_that_was_removed_are_not_those_of_a_new_one(
    whole: Any, toys: Path, shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(whole.output, output)
    shutil.rmtree(output / "runs/mlm/seed-0")
    old = json.loads((output / "scores/mlm.seed-0/animals/results.json").read_text())
    old["validation_metrics"]["accuracy"]["mean"] = 2.0  # as if of another network
    (output / "scores/mlm.seed-0/animals/results.json").write_text(json.dumps(old))
    again = compare(toys / "comparison.toml", data=shards, tasks=toys, output=output)
    assert results(again) == results(whole)


def test_unknown_comparison_or_missing_file_is_named_before_training(toys: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no comparison 'objective'.*Did you mean 'objectives'"):
        load_comparison("objective")
    with pytest.raises(ConfigError, match="there is no such file, which task animals of toys needs"):
        compare(toys / "comparison.toml", data=shards, tasks=tmp_path, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "wrong", "message"),
    [
        ("train = ", 'shown = ["f1"]\ntrain = ', r"labels have none of the metrics that are shown \(f1\)"),
        ("train = ", 'metric = "f1"\ntrain = ', "task animals: metric: classification has no 'f1'"),
    ],
)
def test_a_task_that_can_not_be_measured_is_named_before_training(
    text: str, wrong: str, message: str, toys: Path, shards: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (toys / "classification.jsonl").read_text().splitlines()]
    write_rows(tmp_path / "classification.jsonl", [row | {"label": str(number % 3)} for number, row in enumerate(rows)])
    for name in ("tagging.jsonl", "ranking.jsonl", "comparison.toml"):
        shutil.copyfile(toys / name, tmp_path / name)
    (tmp_path / "toys.toml").write_text(SUITE.replace(text, wrong, 1))
    with pytest.raises(ConfigError, match=message):
        compare(tmp_path / "comparison.toml", data=shards, tasks=tmp_path, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def run_with(variant: str, seed: int, score: float) -> Run:
    return Run(variant, seed, "rtd", 1, 1, 1.0, 1.0, 1.0, None, {"task": score}, {}, None, [])


def test_seeds_are_compared_in_pairs() -> None:
    runs = [run_with("a", seed, score) for seed, score in enumerate((0.5, 0.6, 0.7))]
    runs += [run_with("b", seed, score) for seed, score in enumerate((0.52, 0.61, 0.73))]
    test = compare_means(runs, ["task"])[0]
    # Differences 0.02, 0.01, 0.03: mean 0.02, deviation 0.01; t = 0.02 / (0.01 / √3) = 3.4641, 2 degrees of freedom.
    assert test.difference == pytest.approx(0.02)
    assert test.p_value == pytest.approx(0.0742, abs=1e-4)
    assert test.low == pytest.approx(0.02 - 4.3027 * 0.01 / 3**0.5, abs=1e-5)


def test_differences_that_are_all_alike_are_not_tested() -> None:
    runs = [run_with(name, seed, 0.5) for name in "ab" for seed in range(3)]
    assert compare_means(runs, ["task"])[0].p_value is None
