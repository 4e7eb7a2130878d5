"""The networks of real checkpoints compute what the original's graph computed; other checkpoints say what is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from electrify.errors import CheckpointError
from electrify.models.crc32c import crc32c, mask
from electrify.models.electra import ElectraModel
from electrify.models.electra_heads import ElectraForPreTraining
from electrify.models.inputs import Inputs
from electrify.models.tensorflow_bundle import read_bundle
from electrify.models.tensorflow_names import read_pair

CHECKPOINTS = Path(__file__).parent / "tensorflow"
NUM_HEADS = {"shared": 4, "untied": 2}


def tensors_of(name):
    return read_bundle(CHECKPOINTS / name / "model.ckpt-2")


def difference(name, pair):
    """Largest difference of each network's logits from the graph's, over real tokens."""
    reference = np.load(CHECKPOINTS / name / "reference.npz")
    is_real = torch.from_numpy(reference["input_mask"]).bool()
    inputs = Inputs(
        torch.from_numpy(reference["input_ids"]).long(), is_real, torch.from_numpy(reference["segment_ids"]).long()
    )
    found = []
    for network, key in ((pair.generator, "gen_logits"), (pair.discriminator, "disc_logits")):
        expected = torch.from_numpy(reference[key])
        assert expected.std() > 0.3  # or the comparison would say little
        found.append((network(inputs) - expected)[is_real].abs().max().item())
    return found


@pytest.mark.parametrize("name", ["shared", "untied"])
def test_logits_of_both_networks_equal_the_original_graphs(name):
    gen_difference, disc_difference = difference(name, read_pair(tensors_of(name), num_heads=NUM_HEADS[name]))
    assert gen_difference < 1e-5
    assert disc_difference < 1e-5


def test_number_of_heads_matters_and_is_taken():
    assert difference("shared", read_pair(tensors_of("shared"), num_heads=2))[1] > 1e-3


def test_sizes_follow_from_the_shapes():
    pair = read_pair(tensors_of("shared"), num_heads=4, pad_token_id=3)
    disc, gen = pair.discriminator.config, pair.generator.config
    assert (disc.vocab_size, disc.embedding_size, disc.hidden_size) == (41, 10, 24)
    assert (disc.num_hidden_layers, disc.intermediate_size, disc.max_position_embeddings) == (2, 32, 20)
    assert (gen.hidden_size, gen.intermediate_size, gen.num_attention_heads) == (12, 48, 1)
    assert disc.pad_token_id == 3


def test_generator_without_a_table_of_its_own_gets_the_whole_block():
    pair = read_pair(tensors_of("shared"), num_heads=4)
    mine, theirs = (network.electra.embeddings.state_dict() for network in (pair.generator, pair.discriminator))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_generator_with_a_table_of_its_own_keeps_it():
    pair = read_pair(tensors_of("untied"), num_heads=2)
    assert pair.generator.electra.word_embeddings.weight.shape == (41, 12)
    assert pair.discriminator.electra.word_embeddings.weight.shape == (41, 24)


def without(tensors, *beginnings):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(beginnings)}


def test_without_any_head_the_body_alone_is_left():
    pair = read_pair(without(tensors_of("untied"), "generator", "discriminator_predictions/"), num_heads=2)
    assert type(pair.discriminator) is ElectraModel
    assert pair.generator is None


def test_a_masked_language_model_alone_is_a_generator():
    """As the original trains with `electra_objective` off: the body is called `electra`."""
    tensors = tensors_of("untied")
    swapped = {name: tensors[name] for name in tensors if name.startswith("generator_predictions/")}
    swapped |= {
        name.replace("generator/", "electra/", 1): one for name, one in tensors.items() if name.startswith("generator/")
    }
    pair = read_pair(swapped)
    assert pair.discriminator is None
    expected = read_pair(tensors, num_heads=2).generator.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pair.generator.state_dict().items())


def test_one_body_for_both_networks_is_taken_twice():
    """As the original trains with `untied_generator` off."""
    tensors = tensors_of("untied")
    head = {name: one for name, one in tensors.items() if name.startswith("generator_predictions/")}
    fitting = {"dense/kernel": (24, 24), "dense/bias": (24,), "LayerNorm/beta": (24,), "LayerNorm/gamma": (24,)}
    head |= {
        f"generator_predictions/{name}": tensors[f"electra/encoder/layer_0/attention/output/{name}"] for name in fitting
    }
    pair = read_pair(without(tensors, "generator") | head, num_heads=2)
    assert isinstance(pair.discriminator, ElectraForPreTraining)
    mine, theirs = pair.generator.electra.state_dict(), pair.discriminator.electra.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_without_its_head_the_discriminator_is_a_body():
    pair = read_pair(without(tensors_of("shared"), "discriminator_predictions/"), num_heads=4)
    assert type(pair.discriminator) is ElectraModel
    assert pair.generator is not None


@pytest.mark.parametrize(
    "name",
    [
        "electra/encoder/layer_1/attention/self/key/bias",
        "electra/embeddings_project/kernel",
        "generator/encoder/layer_0/output/LayerNorm/gamma",
        "generator_predictions/dense/kernel",
        "discriminator_predictions/dense/bias",
    ],
)
def test_a_missing_tensor_is_named(name):
    with pytest.raises(CheckpointError, match=f"lacks tensors of its .* network: {name}"):
        read_pair(without(tensors_of("shared"), name), num_heads=4)


def test_a_checkpoint_of_electric_is_refused():
    tensors = tensors_of("shared")
    tensors["cloze_predictions/output_bias"] = tensors["generator_predictions/output_bias"]
    with pytest.raises(CheckpointError, match="Electric"):
        read_pair(tensors, num_heads=4)


def test_a_checkpoint_of_something_else_says_so():
    with pytest.raises(
        CheckpointError, match=r"no tensor 'electra/embeddings/word_embeddings'.*\(it has bert/pooler\)"
    ):
        read_pair({"bert/pooler": tensors_of("shared")["global_step"]})
    with pytest.raises(CheckpointError, match=r"it has none"):
        read_pair({})


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("electra/encoder/layer_0/attention/self/query/kernel", (24, 25), "does not fit the other tensors"),
        ("electra/embeddings/word_embeddings", (1 << 24, 4096), "does not fit|lacks|over the limit"),
        ("electra/embeddings/word_embeddings", (1 << 40, 10), "vocab_size must be a whole number"),
        ("electra/embeddings/word_embeddings", (410,), "not 2-dimensional"),
        ("electra/encoder/layer_0/intermediate/dense/kernel", (0, 0), "hidden_size must be a whole number"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_anything_is_allocated(name, shape, message):
    tensors = tensors_of("shared")
    tensors[name] = replace(tensors[name], shape=shape)
    with pytest.raises(CheckpointError, match=message):
        read_pair(tensors, num_heads=4)


def test_a_layer_that_is_not_there_is_refused():
    tensors = tensors_of("shared")
    tensors["electra/encoder/layer_900/output/dense/bias"] = tensors["electra/encoder/layer_0/output/dense/bias"]
    with pytest.raises(CheckpointError, match="lacks tensors"):
        read_pair(tensors, num_heads=4)
    tensors["electra/encoder/layer_9000/output/dense/bias"] = tensors["electra/encoder/layer_0/output/dense/bias"]
    with pytest.raises(CheckpointError, match="num_hidden_layers"):
        read_pair(tensors, num_heads=4)


@pytest.mark.parametrize("num_heads", [5, 0, -1, 100])
def test_heads_that_do_not_divide_the_width_are_refused(num_heads):
    with pytest.raises(CheckpointError, match="num_attention_heads"):
        read_pair(tensors_of("shared"), num_heads=num_heads)


def test_whole_numbers_are_no_weights():
    tensors = tensors_of("shared")
    name = "electra/encoder/layer_0/output/dense/bias"
    tensors[name] = replace(tensors[name], dtype=torch.int32)
    with pytest.raises(CheckpointError, match="whole numbers"):
        read_pair(tensors, num_heads=4)


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_weights_that_are_not_finite_in_float32_are_refused(value, tmp_path):
    tensors = tensors_of("shared")
    name = "electra/encoder/layer_0/output/dense/bias"
    data = np.full(tensors[name].shape, value, np.float64).tobytes()
    (tmp_path / "data").write_bytes(data)
    tensors[name] = replace(
        tensors[name],
        path=tmp_path / "data",
        dtype=torch.float64,
        offset=0,
        num_bytes=len(data),
        checksum=mask(crc32c(data)),
    )
    with pytest.raises(CheckpointError, match=f"'{name}' holds values that are not finite"):
        read_pair(tensors, num_heads=4)
