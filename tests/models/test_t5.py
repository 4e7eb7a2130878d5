"""T5 equals Transformers' on the same weights: logits, gradients, and folders in both directions.

Float32, tiny sizes. Tolerance: 1e-5 relative and absolute for logits, 1e-4 relative and 1e-5 absolute for gradients.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from electrify.errors import CheckpointError, ConfigError
from electrify.models.checkpoint import load_model, save_model
from electrify.models.inputs import Inputs
from electrify.models.t5 import T5EncoderModel
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import (
    T5EncoderForSequenceClassification,
    T5ForConditionalGeneration,
    T5ForTokenClassification,
)
from electrify.noise import row_keys

FORMS: dict[str, dict[str, Any]] = {
    "t5": {"feed_forward_proj": "relu"},
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "tied and gated": {"feed_forward_proj": "gated-gelu"},
    "few distances, unlike stacks": {
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 12,
        "num_decoder_layers": 1,
        "d_kv": 12,
    },
}
LENGTH, WRITTEN = 40, 9


def reference(form: str, folder: Path, name: str = "T5ForConditionalGeneration") -> Any:
    """Their network with weights larger than usual, saved; v1.1 with an output matrix of its own."""
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    config = transformers.T5Config(**{**sizes, "decoder_start_token_id": 0, "num_labels": 3, **FORMS[form]})
    torch.manual_seed(1)
    network = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(folder)
    if form == "v1.1" and name == "T5ForConditionalGeneration":
        path = folder / "model.safetensors"
        save_file(load_file(path) | {"lm_head.weight": torch.randn(50, 16) * 0.3}, path, metadata={"format": "pt"})
    return getattr(transformers, name).from_pretrained(folder).eval()


def batch() -> tuple[Inputs, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 50, (3, LENGTH), generator=generator)
    is_real = torch.arange(LENGTH) < torch.tensor([[LENGTH], [20], [5]])
    ids = ids.where(is_real, 0)
    written = torch.randint(1, 50, (3, WRITTEN), generator=generator)
    written[:, 0] = 0
    theirs = {"input_ids": ids, "attention_mask": is_real.long(), "decoder_input_ids": written}
    return Inputs(ids, is_real), written, theirs


def compare_gradients(ours: nn.Module, theirs: nn.Module, our_output: Tensor, their_output: Tensor) -> None:
    weights = torch.randn(our_output.shape, generator=torch.Generator().manual_seed(3))
    (our_output * weights).sum().backward()
    (their_output * weights).sum().backward()
    mine = dict(ours.named_parameters())
    expected = dict(theirs.named_parameters())
    assert mine.keys() == expected.keys()
    for name, parameter in expected.items():
        assert parameter.grad is not None
        torch.testing.assert_close(mine[name].grad, parameter.grad, rtol=1e-4, atol=2e-5, msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_theirs_gives_their_logits_and_gradients(form: str, tmp_path: Path) -> None:
    theirs = reference(form, tmp_path)
    ours = load_model(tmp_path, T5ForConditionalGeneration)
    assert set(ours.state_dict()) == set(load_file(tmp_path / "model.safetensors"))
    assert ours.config.tie_word_embeddings == (form != "v1.1")
    inputs, written, their_inputs = batch()
    our_output, their_output = ours(inputs, written), theirs(**their_inputs).logits
    torch.testing.assert_close(our_output, their_output, rtol=1e-5, atol=1e-5)
    compare_gradients(ours, theirs, our_output, their_output)


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_ours_opens_there_with_nothing_missing_or_unexpected(form: str, tmp_path: Path) -> None:
    reference(form, tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", T5ForConditionalGeneration)
    save_model(ours, tmp_path / "ours")
    theirs, report = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report.values()), report
    inputs, written, their_inputs = batch()
    expected = theirs.eval()(**their_inputs).logits
    torch.testing.assert_close(ours(inputs, written), expected, rtol=1e-5, atol=1e-5)
    again = load_model(tmp_path / "ours", T5ForConditionalGeneration)
    assert torch.equal(ours(inputs, written), again(inputs, written))
    assert again.config == ours.config


def test_a_folder_that_they_made_without_tying_and_saved_as_it_was_born_opens(tmp_path: Path) -> None:
    """Not scaled and yet one matrix: what Transformers makes of `tie_word_embeddings = False` without weights."""
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, tie_word_embeddings=False,
        decoder_start_token_id=0,
    )  # fmt: skip
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", T5ForConditionalGeneration)
    assert (ours.config.tie_word_embeddings, ours.config.scale_decoder_outputs) == (True, False)
    inputs, written, their_inputs = batch()
    torch.testing.assert_close(ours(inputs, written), theirs(**their_inputs).logits, rtol=1e-5, atol=1e-4)
    save_model(ours, tmp_path / "ours")
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(again(**their_inputs).logits, theirs(**their_inputs).logits)


def test_token_classifier_is_theirs_in_both_directions(tmp_path: Path) -> None:
    theirs = reference("v1.1", tmp_path / "theirs", "T5ForTokenClassification")
    ours = load_model(tmp_path / "theirs", T5ForTokenClassification)
    inputs, _, their_inputs = batch()
    del their_inputs["decoder_input_ids"]
    our_output = ours(inputs)[inputs.attention_mask]
    their_output = theirs(**their_inputs).logits[inputs.attention_mask]
    torch.testing.assert_close(our_output, their_output, rtol=1e-5, atol=1e-5)
    compare_gradients(ours, theirs, our_output, their_output)
    save_model(ours, tmp_path / "ours")
    _, report = transformers.T5ForTokenClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report


def test_an_encoder_opens_from_all_that_hold_one(tmp_path: Path) -> None:
    theirs = reference("v1.1", tmp_path / "both")
    inputs, _, their_inputs = batch()
    del their_inputs["decoder_input_ids"]
    expected = theirs.encoder(**their_inputs)[0][inputs.attention_mask]
    encoder = load_model(tmp_path / "both", T5EncoderModel)
    torch.testing.assert_close(encoder(inputs)[inputs.attention_mask], expected, rtol=1e-5, atol=1e-5)
    classifier = load_model(tmp_path / "both", T5EncoderForSequenceClassification, new_head=True, num_labels=3)
    save_model(classifier, tmp_path / "classifier")
    save_model(encoder, tmp_path / "encoder")
    for place in ("classifier", "encoder"):
        opened = load_model(tmp_path / place, T5EncoderModel)
        assert torch.equal(opened(inputs), encoder(inputs))
        there, report = transformers.T5EncoderModel.from_pretrained(tmp_path / place, output_loading_info=True)
        assert not report["missing_keys"]
        found = there.eval()(**their_inputs)[0][inputs.attention_mask]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    again = load_model(tmp_path / "classifier", T5EncoderForSequenceClassification)
    assert torch.equal(again(inputs), classifier(inputs))
    assert torch.equal(classifier.pooled(inputs)[2], classifier.transformer(inputs)[2, :5].mean(0))


def test_copies_of_the_word_table_are_compared_and_a_table_nobody_reads_is_left_out(tmp_path: Path) -> None:
    """Files that were converted from the original's hold both."""
    reference("t5", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    tensors |= {name: tensors["shared.weight"].clone() for name in copies}
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.randn(32, 2)
    save_file(tensors, path)
    load_model(tmp_path, T5ForConditionalGeneration)
    load_model(tmp_path, T5EncoderModel)
    save_file(tensors | {"encoder.embed_tokens.weight": torch.randn(50, 16)}, path)
    with pytest.raises(CheckpointError, match=r"encoder\.embed_tokens\.weight' differs from the word embedding"):
        load_model(tmp_path, T5ForConditionalGeneration)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    reference("t5", tmp_path)
    save_model(load_model(tmp_path, T5EncoderModel), tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=r"missing: decoder\.block"):
        load_model(tmp_path / "encoder", T5ForConditionalGeneration)
    with pytest.raises(CheckpointError, match="has the body but not this head"):
        load_model(tmp_path, T5EncoderForSequenceClassification, num_labels=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feed_forward_proj", "gated-silu"),
        ("num_decoder_layers", 0),
        ("d_kv", 1 << 40),
        ("relative_attention_num_buckets", 6),
        ("relative_attention_max_distance", 16),
        ("is_decoder", True),
        ("dense_act_fn", "gelu"),
        ("is_gated_act", True),
        ("decoder_start_token_id", 50),
        ("layer_norm_epsilon", 0.0),
    ],
)
def test_a_setting_that_is_not_built_is_refused(name: str, value: object, tmp_path: Path) -> None:
    reference("t5", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(CheckpointError, match=name if name != "num_decoder_layers" else "num_hidden_layers"):
        load_model(tmp_path, T5ForConditionalGeneration)


def test_a_scaled_output_has_no_matrix_of_its_own() -> None:
    with pytest.raises(ConfigError, match="scale_decoder_outputs"):
        T5Config(tie_word_embeddings=False)


def network(**settings: Any) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**{**sizes, **settings}))


def test_dropout_is_a_function_of_the_rows_key() -> None:
    model = network(dropout_rate=0.2)
    inputs, written, _ = batch()
    keys = row_keys(0, 1, torch.arange(3))

    def states(some: slice) -> Tensor:
        assert inputs.attention_mask is not None
        shown = Inputs(inputs.input_ids[some], inputs.attention_mask[some], dropout_keys=keys[some])
        return model.decode(written[some], model.encode(shown), dropout_keys=keys[some])

    whole = states(slice(0, 3))
    torch.testing.assert_close(whole[1:], states(slice(1, 3)))
    assert not torch.allclose(whole, model.decode(written, model.encode(inputs)))


def test_the_decoder_does_not_look_ahead_nor_at_padding() -> None:
    model = network()
    inputs, written, _ = batch()
    before = model(inputs, written)
    changed = written.clone()
    changed[:, 5:] = 7
    torch.testing.assert_close(model(inputs, changed)[:, :5], before[:, :5])
    other = Inputs(inputs.input_ids.where(inputs.attention_mask, 9), inputs.attention_mask)
    torch.testing.assert_close(model(other, written), before)


def test_bfloat16_autocast_stays_near_float32() -> None:
    model = network(feed_forward_proj="gated-gelu")
    inputs, written, _ = batch()
    exact = model(inputs, written)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(inputs, written)
    assert (rounded.float() - exact).norm() / exact.norm() < 0.02
