import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from electrify.cli import main
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import CheckpointError, DataError
from electrify.verbs.detect import detect
from electrify.verbs.fill import fill
from electrify.verbs.import_tensorflow import import_tensorflow

CHECKPOINT = Path(__file__).parent.parent / "models/tensorflow/shared"


@pytest.fixture
def imported(tmp_path):
    import_tensorflow(CHECKPOINT, output=tmp_path / "out", num_heads=4)
    return tmp_path / "out"


def test_both_folders_open_in_transformers_with_the_original_graphs_logits(imported):
    reference = np.load(CHECKPOINT / "reference.npz")
    inputs = {
        "input_ids": torch.from_numpy(reference["input_ids"]).long(),
        "attention_mask": torch.from_numpy(reference["input_mask"]).long(),
        "token_type_ids": torch.from_numpy(reference["segment_ids"]).long(),
    }
    is_real = inputs["attention_mask"].bool()
    for name, role, key in (
        ("ElectraForMaskedLM", "generator", "gen_logits"),
        ("ElectraForPreTraining", "discriminator", "disc_logits"),
    ):
        network, report = getattr(transformers, name).from_pretrained(imported / role, output_loading_info=True)
        assert not any(report.values()), report
        with torch.no_grad():
            logits = network.eval()(**inputs).logits
        torch.testing.assert_close(logits[is_real], torch.from_numpy(reference[key])[is_real], rtol=0, atol=1e-5)
    tokens = transformers.AutoTokenizer.from_pretrained(imported / "generator")("abz")["input_ids"]
    assert tokens == load_tokenizer(CHECKPOINT / "vocab.txt").encode(["abz"], max_length=9)[0].input_ids


def test_what_was_imported_can_be_used(imported):
    assert len(detect(imported / "discriminator", ["a b c"])[0].tokens) == 3
    assert len(fill(imported / "generator", "a [MASK] c", top=2)[0]) == 2


def test_report_says_what_was_found(tmp_path):
    report = import_tensorflow(CHECKPOINT / "model.ckpt-2", output=tmp_path / "out", num_heads=4)
    assert report.checkpoint == CHECKPOINT / "model.ckpt-2"
    assert report.vocab_size == 41
    assert report.num_heads == {"discriminator": 4, "generator": 1}
    assert report.num_parameters["discriminator"] > report.num_parameters["generator"] > 4000


def test_without_its_vocabulary_nothing_is_written(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(CHECKPOINT, copy)
    (copy / "vocab.txt").unlink()
    with pytest.raises(DataError, match=r"vocab\.txt: not there.*--vocab"):
        import_tensorflow(copy, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_tensorflow(copy, output=tmp_path / "out", vocab=CHECKPOINT / "vocab.txt")


def test_a_vocabulary_longer_than_the_table_is_refused(tmp_path):
    words = (CHECKPOINT / "vocab.txt").read_text()
    (tmp_path / "vocab.txt").write_text(words + "one\nmore\n")
    with pytest.raises(DataError, match="43 tokens, but the checkpoint's table has 41 rows"):
        import_tensorflow(CHECKPOINT, output=tmp_path / "out", vocab=tmp_path / "vocab.txt")


def test_a_damaged_checkpoint_leaves_nothing_behind(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(CHECKPOINT, copy)
    data = copy / "model.ckpt-2.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[2000] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="checksum"):
        import_tensorflow(copy, output=tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_command_prints_the_report_and_its_errors_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["import-tensorflow", str(CHECKPOINT), "--output", str(tmp_path / "out"), "--heads", "4", "--json"])
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["num_heads"]["discriminator"] == 4
    with pytest.raises(SystemExit) as end:
        main(["import-tensorflow", str(tmp_path / "none"), "--output", str(tmp_path / "other")])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
