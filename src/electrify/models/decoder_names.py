"""Names of ModernBERT's parameters in published decoders, which differ from those in published encoders.

A decoder has one matrix each for queries, keys and values where the encoder has them in one, and calls the first part
of its head `lm_head` (Transformers 5, `ModernBertDecoderForCausalLM`). It is the only network here that is not written
under the names that it has in memory.
"""

from collections.abc import Mapping

from torch import Tensor

_JOINT, _PARTS = ".attn.Wqkv.weight", (".attn.q_proj.weight", ".attn.k_proj.weight", ".attn.v_proj.weight")


def decoder_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters by the names that they have in a published decoder; parts of a matrix are views of it.

    Args:
        tensors: Of a ModernBERT network of this package, by name.
    """
    published: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_JOINT):
            place = name.removesuffix(_JOINT)
            published |= {place + part: one for part, one in zip(_PARTS, tensor.chunk(3), strict=True)}
        else:
            published["lm_" + name if name.startswith("head.") else name] = tensor
    return published
