"""Networks that read the intent of a sentence and the slots of its words from one pass through the body.

Transformers has no class for them; its bodies open from their folders. The names of both outputs are one list, as
`config.json` has one: those of the intents begin with "intent:".
"""

from collections.abc import Sequence

from torch import Tensor, nn

from electrify.errors import ConfigError
from electrify.models.dropout import Dropout
from electrify.models.electra import HEAD_SITE as ELECTRA_HEAD_SITE
from electrify.models.electra import ElectraConfig, initialize_electra
from electrify.models.electra_heads import ClassificationHead, ElectraNetwork
from electrify.models.inputs import Inputs
from electrify.models.labels import label_names
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertClassifier, pool, reset_classifier

INTENT = "intent:"
"""How the names of intents begin, which come before those of tags."""


class ElectraForIntentAndSlots(ElectraNetwork):
    """The published heads of a sequence classifier and of a token classifier on one body.

    Args:
        config: Sizes of the body.
        num_labels: Intents and tags together; may be left out if `labels` is given.
        labels: Names of the intents, each behind `INTENT`, and of the tags.
    """

    def __init__(
        self, config: ElectraConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        super().__init__(config)
        self.labels = label_names(num_labels=num_labels, labels=labels)
        num_intents = count_intents(self.labels)
        self.classifier = ClassificationHead(config, num_labels=num_intents)
        self.dropout = Dropout(config.head_dropout_prob, ELECTRA_HEAD_SITE)
        self.tagger = nn.Linear(config.hidden_size, len(self.labels) - num_intents)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for both heads."""
        initialize_electra(self.classifier, self.config)
        initialize_electra(self.tagger, self.config)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the scores of the intents, (B, I), and of the tags at every position, (B, T, S)."""
        hidden: Tensor = self.electra(inputs)
        tags = self.tagger(self.dropout(hidden, inputs.dropout_keys))
        return self.classifier(hidden[:, 0], inputs.dropout_keys), tags


class ModernBertForIntentAndSlots(ModernBertClassifier):
    """Both classifiers behind one dense layer and norm; arguments as for ELECTRA."""

    def __init__(
        self, config: ModernBertConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        names = label_names(num_labels=num_labels, labels=labels)
        num_intents = count_intents(names)
        super().__init__(config, num_outputs=num_intents)
        self.labels = names
        self.tagger = nn.Linear(config.hidden_size, len(self.labels) - num_intents)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for both heads."""
        super().reset_head()
        reset_classifier(self.tagger, self.config)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the scores of the intents, (B, I), and of the tags at every position, (B, T, S)."""
        hidden = self.model(inputs)
        tags = self.tagger(self.drop(self.head(hidden), inputs.dropout_keys))
        return self.scores(pool(hidden, inputs, self.config), inputs.dropout_keys), tags


def count_intents(labels: Sequence[str]) -> int:
    """Return how many of the names are intents, at least 1 and fewer than all.

    Raises:
        ConfigError: If there are none, or no tags behind them.
    """
    number = sum(label.startswith(INTENT) for label in labels)
    if not 0 < number < len(labels) or not all(label.startswith(INTENT) for label in labels[:number]):
        raise ConfigError(
            f"intents, whose names begin with '{INTENT}', must come before tags; got {', '.join(labels)}."
        )
    return number
