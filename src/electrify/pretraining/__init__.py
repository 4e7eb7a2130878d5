"""A pre-training run and what it is made of, each part usable by itself; begin with `running.py`."""
