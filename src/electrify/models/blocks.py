"""The parts that layers are made of, each through a compiled kernel where one fits, through torch elsewhere.

Both ways drop the same elements and agree to the accuracy of bfloat16; the kernels add the biases that a matrix product
would add itself, so that their gradients come out of the same pass.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from electrify import kernels
from electrify.kernels import activation, norm
from electrify.kernels import attention as native_attention
from electrify.kernels import linear as native_linear
from electrify.kernels.unpadded import Unpadded
from electrify.models.attention import Mask, Rotation, attend, rotate
from electrify.models.dropout import Dropout


def linear(hidden: Tensor, layer: nn.Linear) -> Tensor:
    """Return layer(hidden), (…, O)."""
    if kernels.serve(hidden) and layer.bias is None and _is_plain(layer):
        return _product(hidden, layer.weight)
    result: Tensor = layer(hidden)
    return result


def _is_plain(layer: nn.Linear) -> bool:
    """Return whether a layer is its product and bias alone: no adapter in its place, and nobody who listens."""
    return type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks


def _product(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return hidden · weightᵀ where kernels serve."""
    return native_linear.linear(hidden, weight) if native_linear.fits(weight) else F.linear(hidden, weight)


def self_attention(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    num_heads: int,
    mask: Mask,
    dropout: Dropout,
    keys: Tensor | None,
    rotation: Rotation | None = None,
) -> Tensor:
    """Project to queries, keys and values in one product, and attend.

    Args:
        hidden: (B, T, H), or (N, H) as the mask's layout says.
        weight: Of queries, keys and values one below the other, (3H, H).
        bias: (3H,) or None.
        num_heads: A.
        mask: Who may look at whom.
        dropout: Of the probabilities.
        keys: Dropout keys, (B,) int64 or None.
        rotation: How positions turn queries and keys; None leaves them.

    Returns:
        As `hidden`, before the output projection.
    """
    if mask.is_native:
        return native_attention.attend(
            _product(hidden, weight),
            num_heads=num_heads,
            bias=bias,
            rotation=rotation,
            segments=mask.segments,
            window=mask.window,
            causal=mask.causal,
            keys=keys,
            drop_prob=dropout.p,
            site=dropout.site,
            layout=mask.layout,
        )
    joint = F.linear(hidden, weight, bias).reshape(*hidden.shape[:2], 3, num_heads, -1)  # (B, T, 3, A, D)
    query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, A, T, D)
    if rotation is not None:
        query, key = rotate(query, rotation), rotate(key, rotation)
    context = attend(query, key, value, mask=mask, dropout=dropout, keys=keys)
    return context.transpose(1, 2).flatten(2)


def gate_heads(context: Tensor, hidden: Tensor, gate: nn.Linear) -> Tensor:
    """Multiply what each head has mixed by a sigmoid of the token that asked (Qiu et al. 2025, arXiv 2505.06708).

    Args:
        context: Of all heads side by side, (…, H).
        hidden: What the attention read, (…, H).
        gate: From H to a number for each of A heads.

    Returns:
        (…, H).
    """
    shares: Tensor = gate(hidden).sigmoid()[..., None]  # (…, A, 1)
    heads: Tensor = context.unflatten(-1, (gate.out_features, -1))  # (…, A, D)
    return (heads * shares).flatten(-2)


def project_add_norm(
    hidden: Tensor,
    projection: nn.Linear,
    residual: Tensor,
    after: nn.Module,
    *,
    dropout: Dropout | None,
    keys: Tensor | None,
    layout: Unpadded | None,
) -> tuple[Tensor, Tensor]:
    """Add dropout(projection(hidden)) to the residual stream and norm it.

    Args:
        hidden: (B, T, F); (N, F) if there is a layout, as all that follows.
        projection: To the stream's width H.
        residual: The stream, (B, T, H).
        after: The norm.
        dropout: None drops nothing.
        keys: Dropout keys, (B,) int64 or None.
        layout: The mask's.

    Returns:
        The norm of the new stream, and the stream; both (B, T, H).
    """
    is_fitting = norm.fits(projection.out_features) and _is_plain(projection)
    if kernels.serve(hidden) and is_fitting and isinstance(after, nn.LayerNorm):
        return norm.add_norm(
            _product(hidden, projection.weight),
            residual,
            after.weight,
            bias=projection.bias,
            norm_bias=after.bias,
            epsilon=after.eps,
            keys=keys,
            drop_prob=0.0 if dropout is None else dropout.p,
            site=0 if dropout is None else dropout.site,
            layout=layout,
        )
    added = projection(hidden)
    stream = residual + (added if dropout is None else _drop(added, dropout, keys, layout))
    normed: Tensor = after(stream)
    return normed, stream


def linear_gelu(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """Return the exact gelu(linear(hidden)), (…, F)."""
    is_fitting = linear.bias is not None and activation.fits(linear.out_features)
    if kernels.serve(hidden) and is_fitting and _is_plain(linear):
        return activation.gelu(_product(hidden, linear.weight), linear.bias)
    return F.gelu(linear(hidden))


def gated_gelu(joint: Tensor, dropout: Dropout, keys: Tensor | None, layout: Unpadded | None) -> Tensor:
    """Return dropout(gelu(values) · gate), (B, T, F), for values and gate side by side, (B, T, 2F).

    If the mask has a layout, (N, F) for (N, 2F).
    """
    if kernels.serve(joint) and activation.fits(joint.shape[-1] // 2):
        return activation.gated_gelu(joint, keys=keys, drop_prob=dropout.p, site=dropout.site, layout=layout)
    values, gate = joint.chunk(2, dim=-1)
    return _drop(F.gelu(values) * gate, dropout, keys, layout)


def _drop(x: Tensor, dropout: Dropout, keys: Tensor | None, layout: Unpadded | None) -> Tensor:
    """Return dropout(x) for (B, T, …), or for (N, …) with a layout."""
    if layout is None or not dropout.is_active(keys):
        dropped: Tensor = dropout(x, keys)
        return dropped
    return layout.unpad(dropout(layout.pad(x), keys))
