"""Fine-tuning on a short word table gives what fine-tuning on the whole one gives."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from electrify.config import FinetuneConfig
from electrify.tasks import run as training
from electrify.tasks.features import Features
from electrify.tasks.used_words import ShortTable, UsedWords
from electrify.verbs.finetune import finetune


class WholeTable:
    """In place of `UsedWords`: leaves the networks as they are."""

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def restore(self) -> None:
        pass


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("body", ["electra", "modernbert"])
def test_the_same_weights_are_learned(
    body: str,
    frozen: int,
    request: pytest.FixtureRequest,
    labelled: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = FinetuneConfig(
        max_length=16, num_epochs=2, batch_size=16, precision="fp32", learning_rate=0.01, weight_decay=0.5,
        frozen_layers=frozen,
    )  # fmt: skip
    model = request.getfixturevalue(f"{body}_run") / "discriminator"
    parts = {"train": labelled["train"], "validation": labelled["validation"]}
    short = finetune(model, **parts, output=tmp_path / "short", config=config, seeds=(0,))
    monkeypatch.setattr(training, "UsedWords", WholeTable)
    whole = finetune(model, **parts, output=tmp_path / "whole", config=config, seeds=(0,))
    assert short.seeds[0].history == [pytest.approx(one, rel=1e-4) for one in whole.seeds[0].history]
    mine, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("short", "whole"))
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            mine[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    table = next(name for name in theirs if "word_embeddings" in name or "tok_embeddings" in name)
    is_as_before = (theirs[table] == load_file(model / "model.safetensors")[table]).all(-1)
    assert is_as_before.all() if frozen else not is_as_before.any()  # weight decay reaches words that are not used


class Body(nn.Module):
    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.words = table

    @property
    def word_embeddings(self) -> nn.Module:
        return self.embeddings.words


def test_all_rows_come_back_and_words_out_of_sight_are_refused() -> None:
    table = nn.Embedding(50, 4, padding_idx=0)
    before = table.weight.detach().clone()
    one = SimpleNamespace(body=Body(table))
    words = UsedWords([one], [Features([[3, 7], [7, 9, 9]], None, 0, 0), Features([[20]], None, 0, 0)], pad_id=0)
    short = one.body.embeddings.words
    assert isinstance(short, ShortTable)
    assert short.weight.shape == (6, 4)  # 0, 3, 7, 9, 20, and the row that decay is read from
    assert torch.equal(short(torch.tensor([[20, 3], [0, 9]])), before[torch.tensor([[20, 3], [0, 9]])])
    with pytest.raises(IndexError):
        short(torch.tensor([4]))
    with torch.no_grad():
        short.weight[:-1] += 1
        short.weight[-1] = 0.5
    words.restore()
    assert one.body.embeddings.words is table
    used = torch.tensor([0, 3, 7, 9, 20])
    assert torch.equal(table.weight[used], before[used] + 1)
    others = torch.tensor([row for row in range(50) if row not in used.tolist()])
    assert torch.equal(table.weight[others], before[others] / 2)


def test_padding_learns_nothing() -> None:
    short = ShortTable(nn.Embedding(10, 4, padding_idx=2), torch.tensor([2, 5]))
    short(torch.tensor([2, 5])).sum().backward()
    assert short.weight.grad is not None
    assert short.weight.grad.sum(-1).tolist() == [0, 4, 0]
