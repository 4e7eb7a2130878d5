"""The command line: what it prints, how it fails, and the whole way from text to predictions."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.corpora import sentence, write_corpus, write_examples, write_one_word_shards, write_rows
from support.runs import settings

from electrify import progress
from electrify.cli import main

Run = Callable[..., tuple[int, str, str]]
TINY = ["--model.hidden-size=16", "--model.num-heads=2", "--model.num-layers=1", "--model.intermediate-size=16",
        "--model.max-positions=32", "--schedule.num-steps=2", "--training.batch-size=4", "--logging.tensorboard=false",
        "--evaluation.num-rows=4"]  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; gives its exit code and what it wrote to standard output and standard error."""
    monkeypatch.setattr(progress, "_is_enabled", False)  # put back after the test

    def run_command(*words: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def fails(run: Run, *words: object) -> str:
    """Check that a command fails as a user should see it, and return its one line."""
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("electrify: ")
    return lines[0]


def succeeds(run: Run, *words: object) -> Any:
    """Run a command with --json and return what it printed."""
    code, out, err = run(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_published_vocabulary_is_taken_over_without_a_corpus(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]) + "\n")
    taken = succeeds(run, "tokenizer", "--from", tmp_path / "vocab.txt", "--output", tmp_path / "taken")
    assert (taken["vocab_size"], taken["num_documents"]) == (7, 0)
    assert "--from" in fails(run, "tokenizer", "--output", tmp_path / "none")


def test_whole_way_from_text_to_predictions(run: Run, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.txt", num_documents=60)
    train = write_examples(tmp_path / "train.jsonl", num_examples=24)
    valid = write_examples(tmp_path / "valid.jsonl", num_examples=8, seed=1)
    tokenizer, shards, pretrained = (tmp_path / name for name in ("tokenizer", "shards", "run"))
    classifier = tmp_path / "classifier"

    result = succeeds(run, "tokenizer", corpus, "--output", tokenizer, "--vocab-size", 80)
    assert result["num_documents"] == 60
    result = succeeds(run, "prepare", corpus, "--tokenizer", tokenizer, "--output", shards, "--max-length", 16,
                      "--validation-share", 0.2, "--processes", 1)  # fmt: skip
    assert result["num_train_rows"] > 0 < result["num_validation_rows"]
    result = succeeds(run, "pretrain", "tiny", "--data.path", shards, "--output", pretrained, *TINY)
    assert (result["steps"], result["tokens"] > 0) == (2, True)
    result = succeeds(run, "detect", pretrained / "discriminator", "the cat barks", "the dog")
    assert [detection["text"] for detection in result] == ["the cat barks", "the dog"]
    assert 0 < result[0]["tokens"][0]["probability"] < 1
    result = succeeds(run, "fill", pretrained / "generator", "the [MASK] meows", "--top", 3)
    assert [len(candidates) for candidates in result] == [3]
    result = succeeds(run, "finetune", pretrained / "discriminator", "--train", train, "--valid", valid,
                      "--output", classifier, "--seeds", 0, 1, "--num-epochs", 1, "--max-length", 16)  # fmt: skip
    assert [one["seed"] for one in result["seeds"]] == [0, 1]
    result = succeeds(run, "evaluate", classifier, valid)
    assert result["num_examples"] == 8
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": sentence(0)}, {"text": sentence(1)}])
    result = succeeds(run, "predict", classifier, texts)
    assert [prediction["label"] in ("pet", "wild") for prediction in result["predictions"]] == [True, True]


def test_results_are_tables_without_json(run: Run, electra_run: Path, shards: Path, tmp_path: Path) -> None:
    code, out, _ = run("detect", electra_run / "discriminator", "the cat")
    assert code == 0
    assert out.splitlines()[0] == "the cat"
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["the", "cat"]
    code, out, _ = run("fill", electra_run / "generator", "the [MASK]", "--top", 2)
    assert (code, out.splitlines()[0], len(out.splitlines())) == (0, "[MASK] 1", 3)
    code, out, _ = run("pretrain", "tiny", "--data.path", shards, "--output", tmp_path / "run", *TINY)
    assert code == 0
    assert out.splitlines()[0].startswith("Networks in ")
    assert "held-out disc_auc" in out


def test_predictions_are_lines_of_label_probability_and_text(
    run: Run, electra_run: Path, labelled: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--train", labelled["train"], "--valid", labelled["validation"], "--output", tmp_path / "out"]
    code, out, _ = run(
        "finetune", electra_run / "discriminator", *words, "--num-epochs=1", "--max-length=16", "--seeds=0"
    )
    assert (code, out.splitlines()[0]) == (0, f"Network of seed 0 in {tmp_path / 'out'}")
    code, out, _ = run("predict", tmp_path / "out", labelled["test"])
    assert code == 0
    label, probability, text = out.splitlines()[0].split("\t")
    assert (label in ("pet", "wild"), 0.5 <= float(probability) <= 1, text.startswith("the ")) == (True, True, True)
    code, out, _ = run("evaluate", tmp_path / "out", labelled["test"])
    assert code == 0
    assert out.splitlines()[0] == "24 examples"


def test_several_held_out_files_come_before_the_corpus_too(run: Run, tmp_path: Path) -> None:
    names = [write_rows(tmp_path / f"{name}.jsonl", [{"text": sentence(0)}] * 20) for name in "abc"]
    succeeds(run, "tokenizer", *names, "--output", tmp_path / "tok", "--vocab-size=60")
    asked = ("--tokenizer", tmp_path / "tok", "--output", tmp_path / "out", "--validation", *names[:2])
    report = succeeds(run, "prepare", names[2], *asked)
    assert (report["num_train_rows"] > 0, report["num_documents"]) == (True, 60)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [one["name"] for one in manifest["sources"]["validation"]] == ["a.jsonl", "b.jsonl"]


def test_a_reader_that_leaves_and_letters_that_are_not_there_are_no_errors(electra_run: Path) -> None:
    folder = electra_run / "discriminator"
    command = f"'{sys.executable}' -m electrify"
    left = f"{command} config tiny | true; exit ${{PIPESTATUS[0]}}"
    few = f"PYTHONIOENCODING=ascii {command} detect '{folder}' 'das Mädchen'"
    for line in (left, few):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert "M\\xe4dchen" in done.stdout


@pytest.mark.parametrize("place", ["", "nowhere/page.html"])
def test_a_page_that_can_not_be_written_is_refused_before_the_work(place: str, run: Run, tmp_path: Path) -> None:
    words = ("prepare", tmp_path / "none.txt", "--tokenizer", tmp_path, "--output", tmp_path / "out")
    assert "a file in a folder that is there" in fails(run, *words, "--report", tmp_path / place)
    assert not list(tmp_path.iterdir())


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("tokenizer", "prepare", "pretrain", "config", "detect", "fill", "finetune", "evaluate", "predict"):
        assert command in out


@pytest.mark.parametrize("command", ["tokenizer", "prepare", "pretrain", "config", "detect", "fill", "finetune"])
def test_help_of_a_command_explains_it(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"electrify {command}" in out


def test_settings_are_explained_in_the_help(run: Run) -> None:
    text = " ".join(run("pretrain", "--help")[1].split())
    assert "--optimizer.learning-rate" in text
    assert "Peak learning rate" in text
    assert "electrify config RECIPE" in text
    section = text[text.index("--optimizer.learning-rate") :]
    assert "default" not in section[: section.index("--optimizer.", 1)]  # the recipe's, not the schema's


def test_version_is_printed(run: Run) -> None:
    from electrify import __version__

    assert run("--version")[:2] == (0, f"{__version__}\n")


def test_printed_config_is_a_recipe(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("config", "tiny", "--schedule.num-steps=7")
    assert code == 0
    (tmp_path / "own.toml").write_text(out)
    assert run("config", tmp_path / "own.toml")[1] == out
    assert "num_steps = 7" in out


def test_options_may_be_spelled_as_in_the_recipe(run: Run) -> None:
    assert run("config", "tiny", "--schedule.num_steps=7")[1] == run("config", "tiny", "--schedule.num-steps", 7)[1]


def test_switches_of_a_recipe_can_be_turned_off(run: Run) -> None:
    out = run("config", "paper-small", "--optimizer.bias-correction=true", "--logging.tensorboard=false")[1]
    assert "bias_correction = true" in out
    assert "tensorboard = false" in out


def test_misspelt_option_names_the_right_one(run: Run) -> None:
    line = fails(run, "pretrain", "tiny", "--output=run", "--optimizer.learning-rat=1")
    assert "--optimizer.learning-rat" in line
    assert "Did you mean" in line
    assert "--optimizer.learning-rate" in line


def test_misspelt_command_names_the_right_one(run: Run) -> None:
    line = fails(run, "pretain", "tiny")
    assert "pretain" in line
    assert "pretrain" in line


def test_unknown_recipe_names_the_nearest(run: Run, tmp_path: Path) -> None:
    line = fails(run, "pretrain", "papersmall", "--output", tmp_path / "run")
    assert line == "electrify: no recipe 'papersmall', neither a shipped one nor a file. Did you mean 'paper-small'?"


def test_value_of_the_wrong_type_is_named(run: Run, tmp_path: Path) -> None:
    line = fails(run, "pretrain", "tiny", "--output", tmp_path / "run", "--schedule.num-steps=many")
    assert line.startswith("electrify: --schedule.num_steps: input should be a valid integer")
    assert line.endswith("got 'many'.")


def test_value_out_of_range_is_named(run: Run, tmp_path: Path) -> None:
    line = fails(run, "pretrain", "tiny", "--output", tmp_path / "run", "--masking.mask-prob=1.5")
    assert line == "electrify: --masking.mask_prob: input should be less than 1, got '1.5'."


def test_value_out_of_range_in_finetuning_is_named(run: Run, electra_run: Path, labelled: dict[str, Path]) -> None:
    words = ["--train", labelled["train"], "--valid", labelled["validation"], "--output", "out"]
    line = fails(run, "finetune", electra_run / "discriminator", *words, "--dropout=1.5")
    assert line == "electrify: --dropout: input should be less than 1, got '1.5'."


def test_missing_option_is_named(run: Run) -> None:
    assert "--output" in fails(run, "pretrain", "tiny")


def test_missing_data_path_says_what_to_give(run: Run, tmp_path: Path) -> None:
    line = fails(run, "pretrain", "tiny", "--output", tmp_path / "run")
    assert line == "electrify: data.path is not set. Give --data.path SHARDS, a folder made by `electrify prepare`."


def test_folder_that_is_not_prepared_is_named(run: Run, tmp_path: Path) -> None:
    line = fails(run, "pretrain", "tiny", "--output", tmp_path / "run", "--data.path", tmp_path)
    assert str(tmp_path) in line
    assert "prepare" in line


def test_corpus_without_usable_text_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n \n\n")
    line = fails(run, "tokenizer", tmp_path / "corpus.txt", "--output", tmp_path / "tokenizer")
    assert "no usable text" in line.lower()
    assert not (tmp_path / "tokenizer").exists()


def test_corpus_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    assert "nowhere.txt" in fails(run, "tokenizer", tmp_path / "nowhere.txt", "--output", tmp_path / "out")


def test_model_folder_with_only_a_pickle_is_refused_and_not_opened(run: Run, electra_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((electra_run / "discriminator" / name).read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    line = fails(run, "detect", folder, "the cat")
    assert str(folder) in line
    assert "pickle" in line
    assert "safetensors" in line


def test_wrong_network_is_named(
    run: Run, electra_run: Path, modernbert_run: Path, labelled: dict[str, Path], tmp_path: Path
) -> None:
    data = electra_run / "metrics.jsonl"
    for words in (("detect", "the cat"), ("classify-zero", labelled["train"], "--words", "a=b", "c=d")):
        line = fails(run, words[0], electra_run / "generator", *words[1:])
        assert "is no token detector, it holds ElectraForMaskedLM. Give a discriminator's folder" in line
    for words in (("fill", "the [MASK]"), ("augment", labelled["train"], "--output", tmp_path / "out.jsonl")):
        line = fails(run, words[0], electra_run / "discriminator", *words[1:])
        assert "is no masked language model, it holds ElectraForPreTraining. Give a network that fills" in line
    line = fails(run, "fill", modernbert_run / "discriminator", "the [MASK]")
    assert "it holds ModernBertForTokenClassification with the labels original and replaced" in line
    line = fails(run, "evaluate", modernbert_run / "discriminator", data)
    assert "holds ModernBertForTokenClassification with the labels original and replaced, not a fine-tuned" in line
    fails(run, "predict", electra_run / "discriminator", data)


def test_text_without_a_mask_or_no_text_is_named(run: Run, electra_run: Path) -> None:
    assert "[MASK]" in fails(run, "fill", electra_run / "generator", "the cat")
    assert "no text" in fails(run, "detect", electra_run / "discriminator")


def test_existing_output_is_refused_until_overwritten(run: Run, shards: Path, tmp_path: Path) -> None:
    words = ["pretrain", "tiny", "--data.path", shards, "--output", tmp_path / "run", *TINY]
    succeeds(run, *words)
    assert "--overwrite" in fails(run, *words)
    succeeds(run, *words, "--overwrite")


def test_json_output_has_null_for_what_is_no_number(run: Run, tmp_path: Path) -> None:
    shards = write_one_word_shards(tmp_path)
    words = ["--data.path", shards, "--output", tmp_path / "run", *TINY]
    sharp = ["--schedule.num-steps=30", "--optimizer.learning-rate=0.02", "--objective.temperature=0.01"]
    words = [word for word in words if not str(word).startswith("--schedule")]
    assert succeeds(run, "pretrain", "tiny", *words, *sharp)["validation"]["disc_auc"] is None


def test_interrupt_ends_with_its_own_code_and_one_line(
    run: Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from electrify.data.loader import RowOrder

    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RowOrder, "row_indices", interrupted)
    code, out, err = run("pretrain", "tiny", "--data.path", shards, "--output", tmp_path / "run", *TINY)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "electrify: interrupted."
    assert "Traceback" not in err


def test_command_line_and_function_train_the_same(run: Run, shards: Path, electra_run: Path, tmp_path: Path) -> None:
    from support.runs import assert_same_run

    words = [
        f"--{section}.{key.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
        for section, values in settings(shards).items()
        for key, value in values.items()
    ]
    succeeds(run, "pretrain", "tiny", "--output", tmp_path / "run", *words)
    assert_same_run(tmp_path / "run", electra_run)


def test_finetuning_asks_for_files_or_a_suite(run: Run, electra_run: Path, tmp_path: Path) -> None:
    model = electra_run / "discriminator"
    assert "--train and --valid are missing" in fails(run, "finetune", model, "--output", tmp_path / "out")
    assert "--data is missing" in fails(run, "finetune", model, "--output", tmp_path / "out", "--suite", "glue")
    line = fails(run, "finetune", model, "--output", tmp_path / "out", "--suite", "gleu", "--data", tmp_path)
    assert "Did you mean 'glue'?" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--train", "a.jsonl"), "--train can not be used with --suite"),
        (("--label-field", "x"), "names of fields can not be used with --suite"),
        (("--overwrite",), "--overwrite can not be used with --suite, which goes on"),
        (("--together", "--init", "random"), "--init can not be used with --together"),
        (("--together", "--jobs", "2"), "--jobs can not be used with --together"),
    ],
)
def test_options_that_a_suite_would_pass_over_are_refused(
    words: tuple[str, ...], message: str, run: Run, electra_run: Path, tmp_path: Path
) -> None:
    suite = ("--suite", "glue", "--data", tmp_path, "--output", tmp_path / "out")
    assert message in fails(run, "finetune", electra_run / "discriminator", *suite, *words)
    assert not (tmp_path / "out").exists()


def test_every_kind_of_task_from_files_to_predictions(run: Run, electra_run: Path, tmp_path: Path) -> None:
    from support.tasks import MAKERS, write_task

    short = ["--seeds", 0, "--num-epochs", 1, "--max-length", 24]
    for kind in MAKERS:
        path = write_task(kind, tmp_path / f"{kind}.jsonl", num_examples=24)
        words = ["--task", kind, "--train", path, "--valid", path, "--output", tmp_path / kind, *short]
        code, out, err = run("finetune", electra_run / "discriminator", *words)
        assert code == 0, err
        assert out.startswith("Network of seed 0 in")
        code, out, _ = run("evaluate", tmp_path / kind, path)
        assert (code, out.splitlines()[0]) == (0, "24 examples")
        code, out, _ = run("predict", tmp_path / kind, path)
        assert (code, len(out.splitlines())) == (0, 24)
    page = tmp_path / "page.html"
    succeeds(run, "evaluate", tmp_path / "tagging", tmp_path / "tagging.jsonl", "--report", page)
    assert "<svg" in page.read_text()
    path, target = tmp_path / "classification.jsonl", tmp_path / "SST-2.tsv"
    assert succeeds(run, "predict", tmp_path / "classification", path, "--submission", target) == [str(target)]
    assert target.read_text().startswith("index\tprediction\n0\t")
    line = fails(run, "predict", tmp_path / "tagging", tmp_path / "tagging.jsonl", "--submission", target)
    assert "no submission format for tagging" in line


def test_few_labels_from_the_command_line(
    run: Run, electra_run: Path, labelled: dict[str, Path], tmp_path: Path
) -> None:
    model, train, valid = electra_run / "discriminator", labelled["train"], labelled["validation"]
    words = ["--words", "pet=house", "wild=yard", "--template", "{text} in {label}", "--max-length", 24]
    assert "accuracy" in succeeds(run, "classify-zero", model, valid, *words)["metrics"]
    assert "label=word" in fails(run, "classify-zero", model, valid, "--words", "house")
    more = tmp_path / "more.jsonl"
    assert succeeds(run, "augment", electra_run / "generator", train, "--output", more)["num_examples"] == 96
    result = succeeds(run, "probe", model, "--train", train, "--valid", valid, "--max-length", 16)
    assert [one["layer"] for one in result["layers"]] == [0, 1, 2]
    words = ["--train", train, "--valid", valid, "--output", tmp_path / "search", "--space", "learning_rate=1e-4,0.01"]
    result = succeeds(run, "tune", model, *words, "--num-epochs", 1, "--max-length", 16)
    assert len(result["trials"]) == 2
    assert "name=value" in fails(run, "tune", model, *words[:6], "--space", "learning_rate")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", "a", "--valid", "b", "--together"], "--together can not be used without --suite"),
        (["--train", "a", "--valid", "b", "--jobs", "2"], "--jobs can not be used without --suite"),
        (["--train", "a", "--valid", "b", "--data", "sets"], "--data can not be used without --suite"),
        (
            ["--suite", "glue", "--data", "sets", "--temperature", "2"],
            "--temperature can not be used without --together",
        ),
        (["--suite", "glue", "--data", "sets", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--train", "a", "--valid", "b", "--seeds", "0", "0"], "seeds: 0 is named twice"),
        (["--train", "a", "--valid", "b", "--seeds", str(2**63)], "seeds: 9223372036854775808 is none"),
    ],
)
def test_options_of_fine_tuning_that_would_be_passed_over_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["finetune", "model", "--output", str(tmp_path / "out"), *options])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_folders_of_another_kind_are_named(
    electra_run: Path, shards: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments, message in (
        (["detect", str(electra_run), "a"], f"Give {electra_run / 'discriminator'}"),
        (["finetune", str(electra_run), "--train", "a", "--valid", "b", "--output", "c"], "discriminator, generator"),
        (["detect", str(shards), "a"], "shards to train on, not a model"),
        (
            ["pretrain", "tiny", "--init-from", str(shards), "--data.path", str(shards), "--output", "c"],
            "shards to train",
        ),
        (["pretrain", "tiny", "--data.path", str(electra_run / "generator"), "--output", "c"], "a model, not shards"),
        (["pretrain", "tiny", "--data.path", str(tmp_path / "typo"), "--output", "c"], "typo: no such folder"),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert message in capsys.readouterr().err
