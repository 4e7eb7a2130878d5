"""What a pre-training run is made of, each part usable by itself; `verbs/pretrain.py` puts them together."""
