"""Corrupted texts come from the objective itself."""

from pathlib import Path

from electrify.verbs.corrupt import corrupt


def test_only_some_tokens_are_replaced_and_all_are_judged(modernbert_run: Path) -> None:
    texts = ["the cat sat on the mat near the old door", "a dog ran"]
    results = corrupt(modernbert_run / "generator", modernbert_run / "discriminator", texts, mask_prob=0.5)
    assert len(results) == 2
    for tokens in results:
        assert all(0 <= token.probability <= 1 for token in tokens)
        assert all(token.is_replaced == (token.original != token.shown) for token in tokens)
    shares = [sum(token.is_replaced for token in tokens) / len(tokens) for tokens in results]
    assert 0 < shares[0] <= 0.55


def test_a_seed_repeats_and_another_does_not(electra_run: Path) -> None:
    folders = electra_run / "generator", electra_run / "discriminator"
    text = ["the cat sat on the mat near the old door and then it went away again"]
    first = corrupt(*folders, text, seed=1)
    assert corrupt(*folders, text, seed=1) == first
    assert corrupt(*folders, text, seed=2) != first
