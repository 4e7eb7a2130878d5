"""Measure electrify beside what people would use instead: the same rows, in turn, in one run."""
