import pytest
import torch
from support.networks import ELECTRA, MODERNBERT

from electrify.errors import ConfigError
from electrify.models.electra_heads import ElectraForSequenceClassification
from electrify.models.modernbert_heads import ModernBertForSequenceClassification
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import T5EncoderForSequenceClassification
from electrify.tasks.groups import freeze, layerwise_groups

BOTH = pytest.mark.parametrize(
    ("network_type", "config"),
    [(ElectraForSequenceClassification, ELECTRA), (ModernBertForSequenceClassification, MODERNBERT)],
    ids=["electra", "modernbert"],
)


def scales(network: torch.nn.Module, form: str) -> dict[str, float]:
    groups = layerwise_groups([network], 0.5, form=form)
    return {name: group.learning_rate_scale for group in groups for name in group.parameters}


@BOTH
@pytest.mark.parametrize(("form", "top"), [("paper", 0.5), ("code", 0.25)])
def test_rates_fall_from_layer_to_layer(network_type, config, form, top) -> None:
    found = scales(network_type(config, num_labels=2), form)
    names = {"layers": "layer" if config is ELECTRA else "layers"}
    for name, scale in found.items():
        if f"{names['layers']}.1." in name:
            assert scale == top
        elif f"{names['layers']}.0." in name:
            assert scale == top / 2
        elif "embeddings" in name:
            assert scale == top / 4
        elif "classifier" in name or ".head." in name:
            assert scale == 1


def test_rates_fall_in_a_t5_encoder_too() -> None:
    config = T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2)
    found = scales(T5EncoderForSequenceClassification(config, num_labels=2), "paper")
    expected = {"shared": 0.125, "block.0": 0.25, "block.1": 0.5, "final_layer_norm": 0.5, "classification_head": 1}
    for part, scale in expected.items():
        assert {value for name, value in found.items() if part in name} == {scale}


@BOTH
def test_frozen_layers_do_not_learn(network_type, config) -> None:
    network = network_type(config, num_labels=2)
    freeze([network], 1)
    left = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert not any("embeddings" in name or ".0." in name for name in left)
    assert any(".1." in name for name in left)
    assert {name.removeprefix("0.") for name in scales(network, "paper")} == left


@BOTH
def test_more_frozen_layers_than_there_are_are_refused(network_type, config) -> None:
    with pytest.raises(ConfigError, match="frozen_layers = 3, but the model has 2 layers"):
        freeze([network_type(config, num_labels=2)], 3)


@BOTH
def test_shared_body_is_grouped_once(network_type, config) -> None:
    from electrify.tasks.networks import share_body

    first, second = network_type(config, num_labels=2), network_type(config, num_labels=3)
    share_body([first, second])
    groups = layerwise_groups([first, second], 0.5)
    names = [name for group in groups for name in group.parameters]
    assert len([name for name in names if "embeddings" in name]) == len(
        [name for name, _ in first.named_parameters() if "embeddings" in name]
    )
    assert any(name.startswith("1.") and "classifier" in name for name in names)
