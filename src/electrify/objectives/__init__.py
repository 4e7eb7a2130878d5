"""Corrupted inputs and losses, one file for each objective; uses the networks, knows no files and no loop."""
