"""ELECTRA networks: the body with one head each, named as published.

Each has `config`, the body as `body`, and `reset_head()`, which gives its head new first values. Classifiers also have
`labels`, the names of their classes.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.blocks import linear_gelu
from electrify.models.dropout import Dropout
from electrify.models.electra import HEAD_OUTPUT_SITE, HEAD_SITE, ElectraConfig, ElectraModel, initialize_electra
from electrify.models.inputs import Inputs
from electrify.models.labels import label_names
from electrify.models.tied import TiedOutput


class ElectraNetwork(nn.Module):
    """The body under its published name; a subclass puts heads on it and ends with `reset_head()`."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.config = config
        self.electra = ElectraModel(config)

    @property
    def body(self) -> ElectraModel:
        """The network without its heads."""
        return self.electra


class ElectraForMaskedLM(ElectraNetwork):
    """The generator: which token stood here? Its output matrix is the word embedding itself."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.generator_predictions = _GeneratorPredictions(config)
        self.generator_lm_head = TiedOutput(config.vocab_size)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head; the shared matrix keeps its own."""
        initialize_electra(self.generator_predictions, self.config)
        nn.init.zeros_(self.generator_lm_head.bias)

    def hidden_states(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        hidden: Tensor = self.electra(inputs)
        return hidden

    def vectors(self, hidden: Tensor) -> Tensor:
        """Return what is multiplied with the word embedding, (…, E), for some hidden states, (…, H)."""
        result: Tensor = self.generator_predictions(hidden)
        return result

    @property
    def output_bias(self) -> Tensor:
        """What is added to the scores of the vocabulary, (V,)."""
        return self.generator_lm_head.bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the vocabulary, (…, V), for some hidden states, (…, H)."""
        result: Tensor = self.generator_lm_head(self.vectors(hidden), self.electra.word_embeddings)
        return result

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the vocabulary at every position, (B, T, V)."""
        return self.logits(self.hidden_states(inputs))


class ElectraForPreTraining(ElectraNetwork):
    """The discriminator: was this token replaced?"""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.discriminator_predictions = _DiscriminatorPredictions(config)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head; the last layer uniformly, as the original does (Glorot and Bengio 2010)."""
        initialize_electra(self.discriminator_predictions, self.config)
        nn.init.xavier_uniform_(self.discriminator_predictions.dense_prediction.weight)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logit of "replaced" at every position, (B, T)."""
        return self.judge(self.electra(inputs), inputs)

    def judge(self, hidden: Tensor, inputs: Inputs) -> Tensor:  # noqa: ARG002 - as for the other body
        """Return the logits for the body's hidden states, (B, T, H), of some inputs."""
        logits: Tensor = self.discriminator_predictions(hidden)
        return logits


class ElectraForSequenceClassification(ElectraNetwork):
    """A classifier of rows, or with one label a regressor, that reads the first token.

    Args:
        config: Sizes of the body.
        num_labels: C; may be left out if `labels` is given.
        labels: Names of the classes in the order of the logits.
    """

    def __init__(
        self, config: ElectraConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        super().__init__(config)
        self.labels = label_names(num_labels=num_labels, labels=labels)
        self.classifier = ClassificationHead(config, num_labels=len(self.labels))
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_electra(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes, (B, C)."""
        return self.classify(self.pooled(inputs), inputs.dropout_keys)

    def pooled(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, H)."""
        hidden: Tensor = self.electra(inputs)
        return hidden[:, 0]

    def classify(self, pooled: Tensor, keys: Tensor | None) -> Tensor:
        """Return the scores of the classes, (B, C), for what `pooled` returned; `keys` as in the inputs."""
        logits: Tensor = self.classifier(pooled, keys)
        return logits


class ElectraForTokenClassification(ElectraNetwork):
    """A classifier of tokens.

    Args:
        config: Sizes of the body.
        num_labels: C; may be left out if `labels` is given.
        labels: Names of the classes in the order of the logits.
    """

    def __init__(
        self, config: ElectraConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        super().__init__(config)
        self.labels = label_names(num_labels=num_labels, labels=labels)
        self.dropout = Dropout(config.head_dropout_prob, HEAD_SITE)
        self.classifier = nn.Linear(config.hidden_size, len(self.labels))
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_electra(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes at every position, (B, T, C)."""
        logits: Tensor = self.classifier(self.dropout(self.electra(inputs), inputs.dropout_keys))
        return logits


class _GeneratorPredictions(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(linear_gelu(hidden, self.dense))
        return normed


class _DiscriminatorPredictions(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.dense_prediction(linear_gelu(hidden, self.dense)).squeeze(-1)
        return logits


class ClassificationHead(nn.Module):
    """Two layers on one vector a row."""

    def __init__(self, config: ElectraConfig, *, num_labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, num_labels)
        self.dropout = Dropout(config.head_dropout_prob, HEAD_SITE)
        self.output_dropout = Dropout(config.head_dropout_prob, HEAD_OUTPUT_SITE)

    def forward(self, first: Tensor, keys: Tensor | None) -> Tensor:
        """Return the scores of the classes, (B, C), for (B, H); `keys` as in the inputs."""
        hidden = F.gelu(self.dense(self.dropout(first, keys)))
        logits: Tensor = self.out_proj(self.output_dropout(hidden, keys))
        return logits
