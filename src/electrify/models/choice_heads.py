"""Networks that choose one of several texts: each is a row of its own and gets one score."""

import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.dropout import Dropout
from electrify.models.electra import HEAD_SITE as ELECTRA_HEAD_SITE
from electrify.models.electra import ElectraConfig, initialize_electra
from electrify.models.electra_heads import ElectraNetwork
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertClassifier, pool


class ElectraForMultipleChoice(ElectraNetwork):
    """One score a row, read from its first token."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.sequence_summary = _SequenceSummary(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_electra(self.sequence_summary, self.config)
        initialize_electra(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the score of every row, (B,); the softmax over the rows of one question is theirs to take."""
        summary = self.sequence_summary(self.electra(inputs)[:, 0], inputs.dropout_keys)
        scores: Tensor = self.classifier(summary).squeeze(-1)
        return scores


class ModernBertForMultipleChoice(ModernBertClassifier):
    """One score a row, read from its first token or the mean of the real ones."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config, num_outputs=1)
        self.reset_head()

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the score of every row, (B,); the softmax over the rows of one question is theirs to take."""
        pooled = pool(self.model(inputs), inputs, self.config)
        return self.scores(pooled, inputs.dropout_keys).squeeze(-1)


class _SequenceSummary(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.summary = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.head_dropout_prob, ELECTRA_HEAD_SITE)

    def forward(self, first: Tensor, keys: Tensor | None) -> Tensor:
        dropped: Tensor = self.dropout(F.gelu(self.summary(first)), keys)
        return dropped
