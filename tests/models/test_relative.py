import torch

from electrify.models.relative import NUM_BUCKETS, RelativeBias, bucket_of


def test_buckets_are_those_of_transformers_t5():
    from transformers.models.t5.modeling_t5 import T5Attention

    offsets = torch.arange(-300, 301)
    theirs = T5Attention._relative_position_bucket(offsets, bidirectional=True, num_buckets=NUM_BUCKETS)
    assert torch.equal(bucket_of(offsets), theirs)
    assert set(bucket_of(offsets).tolist()) == set(range(NUM_BUCKETS)) - {NUM_BUCKETS // 2}  # after, at distance 0


def test_bias_depends_on_the_distance_and_the_head_alone():
    torch.manual_seed(0)
    bias = RelativeBias(3)(40)
    assert bias.shape == (1, 3, 40, 40)
    assert torch.equal(bias[..., 1:, 1:], bias[..., :-1, :-1])
    assert not torch.equal(bias[0, 0], bias[0, 1])
    assert not torch.equal(bias[0, 0], bias[0, 0].T)
