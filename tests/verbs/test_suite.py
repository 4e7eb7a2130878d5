import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.tasks import write_task

from electrify.errors import CheckpointError, ConfigError, DataError
from electrify.report.suite_page import write_suite_page
from electrify.tasks import run as training
from electrify.verbs import suite as suites
from electrify.verbs.finetuned import open_finetuned
from electrify.verbs.predict import evaluate
from electrify.verbs.suite import run_suite, run_together
from electrify.verbs.suite_file import load_suite, suite_names

SUITE = """
name = "toys"
[settings]
max_length = 24
num_epochs = 2
batch_size = 16
learning_rate = 0.01
precision = "fp32"
[[task]]
name = "animals"
kind = "classification"
train = "classification.jsonl"
valid = "classification.jsonl"
submit = [{ file = "animals.tsv", data = "classification.jsonl" }]
[[task]]
name = "places"
kind = "tagging"
train = "tagging.jsonl"
valid = "tagging.jsonl"
test = "tagging.jsonl"
metric = "accuracy"
shown = ["f1", "accuracy"]
after = "animals"
[[task]]
name = "answers"
kind = "question_answering"
train = "question_answering.jsonl"
valid = "question_answering.jsonl"
submit = [{ file = "answers.json", data = "question_answering.jsonl" }]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("suite")
    for kind in ("classification", "tagging", "question_answering"):
        write_task(kind, folder / f"{kind}.jsonl", num_examples=32)
    (folder / "toys.toml").write_text(SUITE)
    return folder / "toys.toml", folder


def test_shipped_suites_can_be_read() -> None:
    assert suite_names() == ["chinese", "glue", "intent-slots", "mixed", "sentence-eval", "squad", "tagging"]
    for name in suite_names():
        assert len(load_suite(name).task) >= 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_suite_makes_a_table_and_goes_on_where_it_stopped(
    jobs: int, files: tuple[Path, Path], electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, data = files
    options = {"data": data, "output": tmp_path / "out", "seeds": (0, 1), "jobs": jobs}
    first = run_suite(electra_run / "discriminator", suite, name="first", only=["animals"], **options)
    assert list(first.scores["first"]) == ["animals"]
    before = (tmp_path / "out/first/animals/results.json").stat().st_mtime_ns
    report = run_suite(electra_run / "discriminator", suite, name="first", **options)
    assert (tmp_path / "out/first/animals/results.json").stat().st_mtime_ns == before
    scores = report.scores["first"]
    assert {task: {metric: cell.part for metric, cell in cells.items()} for task, cells in scores.items()} == {
        "animals": {"accuracy": "validation"},
        "places": {"f1": "test", "accuracy": "test"},
        "answers": {"f1": "validation"},
    }
    heads = ["animals accuracy, validation", "places f1, test", "places accuracy, test", "answers f1, validation"]
    assert report.table.splitlines()[0] == f"| model | {' | '.join(heads)} | mean |"
    places = (scores["places"]["f1"].mean + scores["places"]["accuracy"].mean) / 2
    mean = (scores["animals"]["accuracy"].mean + places + scores["answers"]["f1"].mean) / 3
    assert report.table.splitlines()[2].endswith(f"| {100 * mean:.1f} |")
    results = json.loads((tmp_path / "out/first/places/results.json").read_text())
    assert scores["places"]["f1"].mean == results["test_metrics"]["f1"]["mean"]
    assert (tmp_path / "out/table.csv").read_text().count("\n") == 5
    rows = (tmp_path / "out/first/animals/animals.tsv").read_text().splitlines()
    assert rows[0] == "index\tprediction"
    assert len(rows) == 33
    assert '"' in (tmp_path / "out/first/answers/answers.json").read_text()
    assert (tmp_path / "out/first/answers/answers.na_prob.json").exists()
    write_suite_page(report, tmp_path / "table.html")
    assert "places accuracy, test" in (tmp_path / "table.html").read_text()


def test_a_row_belongs_to_one_model_with_one_choice_of_settings(
    files: tuple[Path, Path], electra_run: Path, modernbert_run: Path, tmp_path: Path
) -> None:
    """All runs call their network `discriminator`, which is then the name of the row."""
    options: dict[str, Any] = {"data": files[1], "output": tmp_path / "out", "seeds": (0,), "only": ["animals"]}
    run_suite(electra_run / "discriminator", files[0], **options)
    run_suite(electra_run / "discriminator", files[0], **options)
    with pytest.raises(
        ConfigError, match=r"discriminator/animals: done with another model\. Give this row another --name"
    ):
        run_suite(modernbert_run / "discriminator", files[0], **options)
    for change, message in (
        ({"seeds": (0, 1)}, r"seeds = \[0\], now it is \[0, 1\]"),
        ({"init": "random"}, "init = pretrained, now it is random"),
        ({"overrides": {"learning_rate": 0.02}}, r"learning_rate = 0\.01, now it is 0\.02"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_suite(electra_run / "discriminator", files[0], **(options | change))


@pytest.mark.parametrize("name", ["mean", "a/b", ""])
def test_names_of_tasks_that_would_be_mistaken_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "toys.toml").write_text(SUITE.replace('name = "animals"', f'name = "{name}"'))
    with pytest.raises(ConfigError, match="name"):
        load_suite(tmp_path / "toys.toml")


def test_task_may_begin_with_the_network_of_another(
    files: tuple[Path, Path], electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, data = files
    seen = {}
    monkeypatch.setattr(suites, "finetune", lambda model, *, output, **rest: seen.update({output.name: str(model)}))
    monkeypatch.setattr(suites, "write_submission", lambda *arguments, **rest: None)
    run_suite(electra_run / "discriminator", suite, name="m", data=data, output=tmp_path / "out", seeds=(0,))
    assert seen["places"] == str(tmp_path / "out/m/animals")
    assert seen["animals"] == seen["answers"] == str(electra_run / "discriminator")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_that_fails_does_not_stop_the_others(
    jobs: int, files: tuple[Path, Path], electra_run: Path, tmp_path: Path
) -> None:
    suite, data = files
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "classification.jsonl").write_text('{"text": "a", "label": "x"}\n')
    options = {"name": "m", "data": tmp_path, "output": tmp_path / "out", "seeds": (0,), "jobs": jobs}
    reasons = (
        r"2 of 3 tasks failed; the others are done. animals: .*two are needed.* places: it begins with the network of"
    )
    with pytest.raises(DataError, match=reasons):
        run_suite(electra_run / "discriminator", suite, **options)
    assert "answers,validation" in (tmp_path / "out/table.csv").read_text()
    with pytest.raises(DataError, match=r"2 of 2 tasks failed\. animals: "):  # no others are left
        run_suite(electra_run / "discriminator", suite, **options)
    write_task("classification", tmp_path / "classification.jsonl", num_examples=32)
    report = run_suite(electra_run / "discriminator", suite, **options)
    assert list(report.scores["m"]) == ["animals", "places", "answers"]


def test_submission_that_failed_is_written_when_its_test_set_is_mended(
    files: tuple[Path, Path], electra_run: Path, tmp_path: Path
) -> None:
    suite, data = files
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    hidden = tmp_path / "hidden.jsonl"
    hidden.write_text('{"no": "text"}\n')
    text = suite.read_text().replace('data = "classification.jsonl"', 'data = "hidden.jsonl"')
    (tmp_path / "toys.toml").write_text(text)
    options = {"name": "m", "data": tmp_path, "output": tmp_path / "out", "seeds": (0,), "only": ["animals"]}
    with pytest.raises(DataError, match=r"hidden\.jsonl"):
        run_suite(electra_run / "discriminator", tmp_path / "toys.toml", **options)
    results = (tmp_path / "out/m/animals/results.json").stat().st_mtime_ns
    hidden.write_text('{"text": "the cat"}\n')
    run_suite(electra_run / "discriminator", tmp_path / "toys.toml", **options)
    assert len((tmp_path / "out/m/animals/animals.tsv").read_text().splitlines()) == 2
    assert (tmp_path / "out/m/animals/results.json").stat().st_mtime_ns == results


def test_command_line_comes_after_the_suite_setting_by_setting() -> None:
    suite = load_suite("squad")
    task = suite.task[0].model_copy(update={"metric": "f1", "settings": {"question": {"head": "joint"}}})
    own, changed = suite.config(task, {}), suite.config(task, {"question": {"stride": 64}, "metric": "exact"})
    assert (own.question.head, own.metric) == ("joint", "f1")
    assert changed.question == own.question.model_copy(update={"stride": 64})
    assert changed.metric == "exact"


def test_metrics_by_character_are_measured_together_too(electra_run: Path, tmp_path: Path) -> None:
    write_task("question_answering", tmp_path / "q.jsonl", num_examples=16)
    task = '[[task]]\nname = "{}"\nkind = "question_answering"\ntrain = "q.jsonl"\nvalid = "q.jsonl"\n'
    text = 'name = "two"\n[settings]\nmax_length = 32\nnum_epochs = 1\n' + task.format("a") + 'metric = "char_f1"\n'
    (tmp_path / "two.toml").write_text(text + task.format("b"))
    report = run_together(
        electra_run / "discriminator", tmp_path / "two.toml", data=tmp_path, output=tmp_path / "out", seeds=(0,)
    )
    assert "char_f1" in report.tasks["a"]["validation"]
    assert "char_f1" not in report.tasks["b"]["validation"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('kind = "tagging"', 'kind = "taging"'), "no task 'taging'. Did you mean 'tagging'"),
        (('shown = ["f1"', 'shown = ["f2"'), "task places: tagging has no metric 'f2'. Known: f1, precision"),
        (("num_epochs = 2", "num_epoch = 2"), "suite toys, task animals: unknown setting 'num_epoch'. Did you mean"),
        (('after = "animals"', 'after = "answers"'), "places comes after 'answers', which is no task before it"),
        (('name = "places"', 'name = "animals"'), "two tasks are called 'animals'"),
        (('name = "places"', 'name = "../places"'), "task.1.name"),
        (('name = "toys"', "name = toys"), "not valid TOML"),
    ],
)
def test_mistake_in_a_suite_is_named(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "toys.toml").write_text(SUITE.replace(*change, 1))
    with pytest.raises(ConfigError, match=message):
        load_suite(tmp_path / "toys.toml")


def test_unknown_suite_or_task_is_named(files: tuple[Path, Path], electra_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no suite 'gleu'.*Did you mean 'glue'"):
        load_suite("gleu")
    with pytest.raises(ConfigError, match=r"no task 'animal'\. Did you mean 'animals'"):
        run_suite(electra_run, files[0], data=files[1], output=tmp_path, only=["animal"])


def test_one_body_learns_several_tasks_and_each_opens_alone(
    files: tuple[Path, Path], modernbert_run: Path, tmp_path: Path
) -> None:
    suite, data = files
    report = run_together(
        modernbert_run / "discriminator", suite, data=data, output=tmp_path / "out", seeds=(0,),
        only=["animals", "places"], temperature=2.0,
        overrides={"num_epochs": 8, "learning_rate": 0.02, "layerwise_lr_decay": 1.0, "dropout": 0.0},
    )  # fmt: skip
    assert report.tasks["animals"]["validation"]["accuracy"]["mean"] > 0.9
    assert report.tasks["places"]["test"]["accuracy"]["mean"] > 0.9
    for name, file in (("animals", "classification"), ("places", "tagging")):
        found = evaluate(tmp_path / "out" / name, data / f"{file}.jsonl", num_draws=0, precision="fp32").metrics
        assert found["accuracy"] == pytest.approx(report.tasks[name]["validation"]["accuracy"]["mean"])
    one, other = (load_file(tmp_path / "out" / name / "model.safetensors") for name in ("animals", "places"))
    shared = [name for name in one if name.startswith("model.")]
    assert shared
    assert all(one[name].equal(other[name]) for name in shared)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", [3, 6, 14])
def test_several_tasks_that_were_killed_and_resumed_equal_those_that_were_not(
    step: int, files: tuple[Path, Path], electra_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, data = files
    options = {"data": data, "seeds": (0, 1), "overrides": {"dropout": 0.3, "checkpoint_minutes": 0}}
    model = electra_run / "discriminator"
    whole = run_together(model, suite, output=tmp_path / "whole", **options)
    take_step, taken = training.SeedRun._take_step, []

    def stop(self: Any, *arguments: Any) -> None:
        if len(taken) == step:
            raise Killed
        taken.append(1)
        take_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.SeedRun, "_take_step", stop)
        with pytest.raises(Killed):
            run_together(model, suite, output=tmp_path / "cut", **options)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(DataError, match="unfinished run"):
        run_together(model, suite, output=tmp_path / "cut", **options)
    with pytest.raises(ConfigError, match="metric: classification has no 'map'"):
        run_together(model, suite, output=tmp_path / "other", **options | {"overrides": {"metric": "map"}})
    with pytest.raises(ConfigError, match="seeds is empty"):
        run_together(model, suite, output=tmp_path / "other", **options | {"seeds": ()})
    with pytest.raises(ConfigError, match="other tasks"):
        run_together(model, suite, output=tmp_path / "cut", resume=True, only=["animals"], **options)
    again = run_together(model, suite, output=tmp_path / "cut", resume=True, **options)
    assert (again.tasks, again.mean, again.published_seed) == (whole.tasks, whole.mean, whole.published_seed)
    for name in ("animals", "places", "answers"):
        one, other = (load_file(tmp_path / run / name / "model.safetensors") for run in ("whole", "cut"))
        assert one.keys() == other.keys()
        assert all(one[key].equal(other[key]) for key in one)
    assert not (tmp_path / "cut.work").exists()
    published = tmp_path / "whole/animals"
    assert "together with places and answers" in (published / "README.md").read_text()
    (published / "vocab.txt").write_text((published / "vocab.txt").read_text() + "more\n")
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        open_finetuned(published)


MNLI = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse",
        "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"]  # fmt: skip
STSB = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2", "score"]
HEADERS = {
    "SST-2": ["sentence", "label"],
    "MNLI": MNLI,
    "MRPC": ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "STS-B": STSB,
    "QQP": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
    "QNLI": ["index", "question", "sentence", "label"],
    "RTE": ["index", "sentence1", "sentence2", "label"],
    "WNLI": ["index", "sentence1", "sentence2", "label"],
}


def test_files_of_glue_are_read_as_they_are_distributed(tmp_path: Path) -> None:
    from electrify.tasks.kinds import read_part

    pairs = {"sentence1", "#1 String", "question1", "question"}
    seconds = {"sentence2", "#2 String", "question2"}
    labels = {"label", "gold_label", "Quality", "is_duplicate", "score"}
    for task in load_suite("glue").task:
        path = tmp_path / f"{task.name}.tsv"
        if task.name == "CoLA":
            path.write_text('gj04\t1\t\tThey said "no.\n')
        else:
            header = HEADERS[task.name]
            is_pair = bool(pairs & set(header))
            values = [
                'first "' if name in pairs or (name == "sentence" and not is_pair)
                else "second" if name in seconds or (name == "sentence" and is_pair)
                else "1" if name in labels else "x"
                for name in header
            ]  # fmt: skip
            path.write_text("\t".join(header) + "\n" + "\t".join(values) + "\n")
        (example,) = read_part(task.kind, path, fields=task.fields.resolve())
        expected = (
            ('They said "no.', None) if task.name == "CoLA" else ('first "', None if task.name == "SST-2" else "second")
        )
        assert (example.text, example.text_b) == expected
        assert example.label == "1"
