"""Networks that choose one of several texts: each is a row of its own and gets one score."""

import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.dropout import Dropout
from electrify.models.electra import HEAD_SITE as ELECTRA_HEAD_SITE
from electrify.models.electra import ElectraConfig, ElectraModel, initialize_electra
from electrify.models.inputs import Inputs
from electrify.models.modernbert import HEAD_SITE, ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import PredictionHead, pool, reset_classifier


class ElectraForMultipleChoice(nn.Module):
    """One score a row, read from its first token."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.config = config
        self.electra = ElectraModel(config)
        self.sequence_summary = _SequenceSummary(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.reset_head()

    @property
    def body(self) -> ElectraModel:
        """The network without its head."""
        return self.electra

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_electra(self.sequence_summary, self.config)
        initialize_electra(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the score of every row, (B,); the softmax over the rows of one question is theirs to take."""
        summary = self.sequence_summary(self.electra(inputs)[:, 0], inputs.dropout_keys)
        scores: Tensor = self.classifier(summary).squeeze(-1)
        return scores


class ModernBertForMultipleChoice(nn.Module):
    """One score a row, read from its first token or the mean of the real ones."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBertModel(config)
        self.head = PredictionHead(config)
        self.drop = Dropout(config.classifier_dropout, HEAD_SITE)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.reset_head()

    @property
    def body(self) -> ModernBertModel:
        """The network without its head."""
        return self.model

    def reset_head(self) -> None:
        """Draw new values for the head."""
        self.head.reset(self.config)
        reset_classifier(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the score of every row, (B,); the softmax over the rows of one question is theirs to take."""
        pooled = pool(self.model(inputs), inputs, self.config)
        scores: Tensor = self.classifier(self.drop(self.head(pooled), inputs.dropout_keys)).squeeze(-1)
        return scores


class _SequenceSummary(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.summary = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.head_dropout_prob, ELECTRA_HEAD_SITE)

    def forward(self, first: Tensor, keys: Tensor | None) -> Tensor:
        dropped: Tensor = self.dropout(F.gelu(self.summary(first)), keys)
        return dropped
