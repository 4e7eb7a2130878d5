"""ModernBERT networks: the body with one head each, named as published.

Each has `config`, the body as `body`, and `reset_head()`, which gives its head new first values. Classifiers also have
`labels`, the names of their classes.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.dropout import Dropout
from electrify.models.initialization import truncated_normal
from electrify.models.inputs import Inputs
from electrify.models.labels import REPLACED_TOKEN_LABELS, label_names
from electrify.models.modernbert import HEAD_SITE, ModernBertConfig, ModernBertModel, build_norm, residual_std
from electrify.models.pooling import mean_of_real
from electrify.models.tied import TiedOutput


class ModernBertNetwork(nn.Module):
    """The body under its published name; a subclass puts heads on it and ends with `reset_head()`."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.model = ModernBertModel(config)

    @property
    def body(self) -> ModernBertModel:
        """The network without its heads."""
        return self.model


class ModernBertClassifier(ModernBertNetwork):
    """The body and the head that all published classifiers have: a dense layer with a norm, and one linear map.

    Args:
        config: Sizes of the body.
        num_outputs: C.
    """

    def __init__(self, config: ModernBertConfig, *, num_outputs: int) -> None:
        super().__init__(config)
        self.head = PredictionHead(config)
        self.drop = Dropout(config.classifier_dropout, HEAD_SITE)
        self.classifier = nn.Linear(config.hidden_size, num_outputs)

    def reset_head(self) -> None:
        """Draw new values for the head."""
        self.head.reset(self.config)
        reset_classifier(self.classifier, self.config)

    def scores(self, hidden: Tensor, keys: Tensor | None) -> Tensor:
        """Return what the head says, (…, C), of some hidden states, (…, H); `keys` as in the inputs."""
        result: Tensor = self.classifier(self.drop(self.head(hidden), keys))
        return result


class ModernBertForMaskedLM(ModernBertNetwork):
    """The generator: which token stood here? Its output matrix is the word embedding itself."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.head = PredictionHead(config)
        self.decoder = TiedOutput(config.vocab_size)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head; the shared matrix keeps its own."""
        self.head.reset(self.config)
        nn.init.zeros_(self.decoder.bias)

    def hidden_states(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        hidden: Tensor = self.model(inputs)
        return hidden

    def vectors(self, hidden: Tensor) -> Tensor:
        """Return what is multiplied with the word embedding, (…, H), for some hidden states, (…, H)."""
        result: Tensor = self.head(hidden)
        return result

    @property
    def output_bias(self) -> Tensor:
        """What is added to the scores of the vocabulary, (V,)."""
        return self.decoder.bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the vocabulary, (…, V), for some hidden states, (…, H)."""
        result: Tensor = self.decoder(self.vectors(hidden), self.model.word_embeddings)
        return result

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the vocabulary at every position, (B, T, V)."""
        return self.logits(self.hidden_states(inputs))


class ModernBertForPreTraining(ModernBertClassifier):
    """The discriminator: was this token replaced?

    Published as a `ModernBertForTokenClassification` with the labels "original" and "replaced"; the logit of
    "replaced" is the difference of its two, so that the sigmoid here is the softmax there.
    """

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config, num_outputs=len(REPLACED_TOKEN_LABELS))
        self.labels = REPLACED_TOKEN_LABELS
        self.reset_head()

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the logit of "replaced" at every position, (B, T)."""
        return self.judge(self.model(inputs), inputs)

    def judge(self, hidden: Tensor, inputs: Inputs) -> Tensor:
        """Return the logits for the body's hidden states, (B, T, H), of some inputs."""
        hidden = self.drop(self.head(hidden), inputs.dropout_keys)
        # Subtracting the weights, not the logits, loses no digits in bfloat16.
        weight, bias = self.classifier.weight, self.classifier.bias
        return F.linear(hidden, weight[1:] - weight[:1], bias[1:] - bias[:1]).squeeze(-1)


class ModernBertForSequenceClassification(ModernBertClassifier):
    """A classifier of rows, or with one label a regressor, that reads the first token or the mean of the real ones.

    Args:
        config: Sizes of the body; `classifier_pooling` says what is read.
        num_labels: C; may be left out if `labels` is given.
        labels: Names of the classes in the order of the logits.
    """

    def __init__(
        self, config: ModernBertConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        names = label_names(num_labels=num_labels, labels=labels)
        super().__init__(config, num_outputs=len(names))
        self.labels = names
        self.reset_head()

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes, (B, C)."""
        return self.classify(self.pooled(inputs), inputs.dropout_keys)

    def pooled(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, H)."""
        return pool(self.model(inputs), inputs, self.config)

    def classify(self, pooled: Tensor, keys: Tensor | None) -> Tensor:
        """Return the scores of the classes, (B, C), for what `pooled` returned; `keys` as in the inputs."""
        return self.scores(pooled, keys)


class ModernBertForTokenClassification(ModernBertClassifier):
    """A classifier of tokens.

    Args:
        config: Sizes of the body.
        num_labels: C; may be left out if `labels` is given.
        labels: Names of the classes in the order of the logits.
    """

    def __init__(
        self, config: ModernBertConfig, *, num_labels: int | None = None, labels: Sequence[str] | None = None
    ) -> None:
        names = label_names(num_labels=num_labels, labels=labels)
        super().__init__(config, num_outputs=len(names))
        self.labels = names
        self.reset_head()

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes at every position, (B, T, C)."""
        return self.scores(self.model(inputs), inputs.dropout_keys)


class PredictionHead(nn.Module):
    """The dense layer and norm that every head begins with."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = build_norm(config)

    def reset(self, config: ModernBertConfig) -> None:
        """Draw new values."""
        truncated_normal(self.dense, std=residual_std(config), cutoff=config.initializer_cutoff_factor)
        self.norm.reset_parameters()

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (…, H) for (…, H)."""
        normed: Tensor = self.norm(F.gelu(self.dense(hidden)))
        return normed


def reset_classifier(classifier: nn.Linear, config: ModernBertConfig) -> None:
    """Draw new values for the last layer of a classifier."""
    truncated_normal(classifier, std=1 / math.sqrt(config.hidden_size), cutoff=config.initializer_cutoff_factor)


def pool(hidden: Tensor, inputs: Inputs, config: ModernBertConfig) -> Tensor:
    """Return the first token's vector of each row or the mean of its real ones', (B, H)."""
    return hidden[:, 0] if config.classifier_pooling == "cls" else mean_of_real(hidden, inputs.attention_mask)
