import numpy as np
import torch

from electrify.data.labelled import Example
from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.tasks.features import batch_inputs, encode_examples

PAD, CLS, SEP, A, B = 0, 2, 3, 5, 6
CPU = torch.device("cpu")
TOKENIZER = from_vocabulary([*SPECIAL_TOKENS, "a", "b"], is_cased=True)


def texts(*values: str) -> list[Example]:
    return [Example(value, None, None) for value in values]


def test_text_stands_between_the_special_tokens() -> None:
    features = encode_examples(texts("a b", "b"), TOKENIZER, max_length=8)
    assert features.ids == [[CLS, A, B, SEP], [CLS, B, SEP]]
    assert features.type_ids is None
    assert features.lengths == [4, 3]


def test_pair_has_types() -> None:
    features = encode_examples([Example("a", "b b", None)], TOKENIZER, max_length=8)
    assert features.ids == [[CLS, A, SEP, B, B, SEP]]
    assert features.type_ids == [[0, 0, 0, 1, 1, 1]]


def test_a_single_text_beside_pairs_stays_one() -> None:
    alone = encode_examples(texts("a b"), TOKENIZER, max_length=4)
    mixed = encode_examples([*texts("a b"), Example("b", "a", None), Example("b", "", None)], TOKENIZER, max_length=5)
    assert mixed.ids == [*alone.ids, [CLS, B, SEP, A, SEP], [CLS, B, SEP, SEP]]
    assert mixed.type_ids == [[0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1]]
    assert encode_examples([*texts("a b a"), Example("b", "a", None)], TOKENIZER, max_length=5).num_cut_tokens == 0


def test_too_long_examples_are_cut_and_counted() -> None:
    features = encode_examples(texts("a a a a a", "a a", "a a a"), TOKENIZER, max_length=4)
    assert features.lengths == [4, 4, 4]
    assert (features.num_cut_examples, features.num_cut_tokens) == (2, 4)


def test_batch_is_padded_to_its_longest_example_and_no_further() -> None:
    features = encode_examples(texts("a", "a b a", "b a", "a a a a a a"), TOKENIZER, max_length=16)
    inputs = batch_inputs(features, np.array([0, 2]), pad_id=PAD, device=CPU)
    assert inputs.input_ids.tolist() == [[CLS, A, SEP, PAD], [CLS, B, A, SEP]]
    assert inputs.attention_mask.tolist() == [[True, True, True, False], [True] * 4]


def test_batch_of_equal_lengths_needs_no_mask() -> None:
    features = encode_examples(texts("a", "b"), TOKENIZER, max_length=8)
    assert batch_inputs(features, np.array([1, 0]), pad_id=PAD, device=CPU).attention_mask is None


def test_padding_of_types_is_zero() -> None:
    features = encode_examples([Example("a", "b", None), Example("a a", "b", None)], TOKENIZER, max_length=8)
    inputs = batch_inputs(features, np.array([0, 1]), pad_id=PAD, device=CPU)
    assert inputs.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
