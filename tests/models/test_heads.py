import pytest
import torch

from electrify.errors import ConfigError
from electrify.models.electra import ElectraConfig
from electrify.models.electra_heads import (
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from electrify.models.heads import build_discriminator, build_generator
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertForSequenceClassification, ModernBertForTokenClassification
from electrify.noise import row_keys

ELECTRA = ElectraConfig(
    vocab_size=50,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
    classifier_dropout=0.5,
)
MODERNBERT = ModernBertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    pad_token_id=0,
    classifier_dropout=0.5,
)
BOTH = pytest.mark.parametrize("config", [ELECTRA, MODERNBERT], ids=["electra", "modernbert"])
IDS = torch.arange(1, 13).reshape(2, 6)


@BOTH
def test_generator_scores_chosen_positions_as_it_scores_all(config):
    torch.manual_seed(0)
    generator = build_generator(config)
    chosen = torch.tensor([0, 4, 7])
    scores = generator.logits(generator.hidden_states(Inputs(IDS)).flatten(0, 1)[chosen])
    everywhere = generator(Inputs(IDS))
    assert everywhere.shape == (2, 6, 50)
    torch.testing.assert_close(scores, everywhere.flatten(0, 1)[chosen])


@BOTH
def test_output_matrix_is_the_word_embedding_even_after_it_is_replaced(config):
    torch.manual_seed(0)
    generator = build_generator(config)
    hidden = generator.hidden_states(Inputs(IDS))
    names = [name for name, parameter in generator.named_parameters() if parameter.shape[0] == 50]
    assert len(names) == 2  # the table and the output's bias
    table = torch.nn.Embedding(50, generator.body.word_embeddings.embedding_dim)
    before = generator.logits(hidden)
    if isinstance(config, ElectraConfig):
        generator.body.embeddings.word_embeddings = table
    else:
        generator.body.embeddings.tok_embeddings = table
    assert not torch.allclose(generator.logits(hidden), before)


@BOTH
def test_output_matrix_and_embedding_add_their_gradients(config):
    torch.manual_seed(0)
    generator = build_generator(config)
    generator(Inputs(IDS)).logsumexp(-1).sum().backward()
    gradient = generator.body.word_embeddings.weight.grad
    assert gradient[20:].any(-1).all()  # ids that never were input get theirs from the output


@BOTH
def test_discriminator_gives_one_logit_a_token(config):
    assert build_discriminator(config)(Inputs(IDS)).shape == (2, 6)


@pytest.mark.parametrize(
    ("network", "config", "shape"),
    [
        (ElectraForSequenceClassification, ELECTRA, (2, 3)),
        (ElectraForTokenClassification, ELECTRA, (2, 6, 3)),
        (ModernBertForSequenceClassification, MODERNBERT, (2, 3)),
        (ModernBertForTokenClassification, MODERNBERT, (2, 6, 3)),
    ],
)
def test_classifiers_score_their_classes_and_drop_in_their_head(network, config, shape):
    torch.manual_seed(0)
    classifier = network(config, num_labels=3)
    keys = row_keys(0, 0, torch.arange(2))
    plain, dropped = classifier(Inputs(IDS)), classifier(Inputs(IDS, dropout_keys=keys))
    assert plain.shape == shape
    assert not torch.allclose(plain, dropped)
    assert classifier.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_electra_discriminators_last_layer_starts_uniform_as_the_originals():
    torch.manual_seed(0)
    wide = ElectraConfig(
        vocab_size=50, hidden_size=2048, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    with torch.device("meta"):
        network = ElectraForPreTraining(wide)
    network.discriminator_predictions.to_empty(device="cpu")
    network.reset_head()
    weight = network.discriminator_predictions.dense_prediction.weight
    bound = (6 / 2049) ** 0.5
    assert bound * 0.95 < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs num_labels or labels"),
        ({"num_labels": 0}, "at least 1 label"),
        ({"num_labels": 3, "labels": ["a", "b"]}, "num_labels is 3, but there are 2 labels"),
        ({"labels": ["a", "b", "a"]}, "'a' is there twice"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ElectraForSequenceClassification(ELECTRA, **arguments)
