"""Which of the tensors in a published T5 file belong to which network.

An encoder's networks open from a file of encoder and decoder, which holds more than they need.
"""

from collections.abc import Mapping

from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.models.weights import StoredTensor

OUTPUT = "lm_head.weight"
"""The output matrix, where it is not the word table."""
_OF_THE_DECODER = ("decoder.", "lm_head.")
_NEVER_USED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
"""A table in the original's files that no network reads (Transformers leaves it out too)."""


def stored_for(network: type[object], stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the stored tensors that are meant for a network; of an encoder, all but the decoder's.

    Args:
        network: Its class.
        stored: All tensors of a folder, by name.
    """
    names = [name for name in stored if name != _NEVER_USED]
    if network is not T5ForConditionalGeneration:
        names = [name for name in names if not name.startswith(_OF_THE_DECODER)]
    return {name: stored[name] for name in names}
