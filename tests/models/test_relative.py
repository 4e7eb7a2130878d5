import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from electrify.models.relative import FARTHEST, NUM_BUCKETS, RelativeBias, bucket_of


@pytest.mark.parametrize("looks_back", [False, True])
def test_buckets_are_those_of_transformers_t5(looks_back: bool) -> None:
    distances = torch.arange(-600, 600)
    for count, farthest in ((NUM_BUCKETS, FARTHEST), (8, 20)):
        theirs = T5Attention._relative_position_bucket(
            distances, bidirectional=not looks_back, num_buckets=count, max_distance=farthest
        )
        ours = bucket_of(distances, num_buckets=count, farthest=farthest, looks_back=looks_back)
        assert torch.equal(ours, theirs)


def test_buckets_are_as_the_paper_says() -> None:
    distances = torch.tensor([0, -1, -7, -8, -127, -128, -5000, 1, 7, 128])
    assert bucket_of(distances).tolist() == [0, 1, 7, 8, 15, 15, 15, 17, 23, 31]
    assert bucket_of(distances, looks_back=True).tolist()[:7] == [0, 1, 7, 8, 31, 31, 31]
    assert bucket_of(torch.arange(10), looks_back=True).tolist() == [0] * 10
    used = set(bucket_of(torch.arange(-300, 301)).tolist())
    assert used == set(range(NUM_BUCKETS)) - {NUM_BUCKETS // 2}  # after, at distance 0


def test_bias_depends_on_the_distance_and_the_head_alone():
    torch.manual_seed(0)
    bias = RelativeBias(3)(40)
    assert bias.shape == (1, 3, 40, 40)
    assert torch.equal(bias[..., 1:, 1:], bias[..., :-1, :-1])
    assert not torch.equal(bias[0, 0], bias[0, 1])
    assert not torch.equal(bias[0, 0], bias[0, 0].T)
