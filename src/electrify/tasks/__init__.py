"""Kinds of labels, one file each of the same shape: features, loss, decode, metrics."""
