"""Fine-tuning with the rows of the word table that the texts at hand use.

A labelled set has a few thousand of a vocabulary's words, and only their vectors get gradients. A step that keeps the
whole table clears, measures, scales and updates tens of megabytes of zeros, which for a small network is most of its
parameters; states and copies of the best weights hold them too. Here the network has a short table while it learns, and
gets its own back afterwards: rows that were used as they were trained, all others as weight decay would have left them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.heads import TaskNetwork
from electrify.tasks.features import Features


class ShortTable(nn.Module):
    """Some rows of a word table, looked up by the ids of the whole.

    Args:
        table: The whole table, (V, E).
        used: Ids of its rows, (U,) int64.
    """

    lookup: Tensor

    def __init__(self, table: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        rows = table.weight.detach()[used]
        # A row of ones that nothing looks up is shrunk by weight decay as all unused rows would be.
        self.weight = nn.Parameter(torch.cat([rows, torch.ones_like(rows[:1])]))
        lookup = torch.full((table.num_embeddings,), -1)
        lookup[used] = torch.arange(len(used))
        self.register_buffer("lookup", lookup, persistent=False)
        pad = -1 if table.padding_idx is None else int(lookup[table.padding_idx])
        self._padding = None if pad < 0 else pad

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids, (…, E); an id that is not in the short table is an IndexError."""
        return F.embedding(self.lookup[ids], self.weight, padding_idx=self._padding)


class UsedWords:
    """Puts a short table into networks that share one body, and the whole one back.

    Args:
        networks: Of which the first one's body is changed, in place.
        features: All rows that will be read until `restore`.
        pad_id: Of the token that fills shorter rows of a batch.
    """

    def __init__(self, networks: Sequence[TaskNetwork], features: Iterable[Features], *, pad_id: int) -> None:
        body = networks[0].body
        self._table: nn.Embedding = body.word_embeddings
        self._parent, self._name = next(
            (module, name)
            for module in body.modules()
            for name, child in module.named_children()
            if child is self._table
        )
        ids = [np.array([pad_id]), *(one.used_ids for one in features)]
        self._used = torch.from_numpy(np.unique(np.concatenate(ids)))
        self._short = ShortTable(self._table, self._used)
        setattr(self._parent, self._name, self._short)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the whole table back, with what was learned."""
        learned = self._short.weight.detach()
        whole = self._table.weight
        whole.data = whole.data.to(learned.device)
        whole.mul_(learned[-1])
        whole[self._used.to(learned.device)] = learned[:-1]
        setattr(self._parent, self._name, self._table)
