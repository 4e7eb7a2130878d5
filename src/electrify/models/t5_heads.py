"""T5 networks: encoder and decoder together, and the encoder with a head for labels.

Each has `config`, the body as `body`, and `reset_head()`. `T5ForConditionalGeneration` and `T5ForTokenClassification`
are Transformers' networks of these names. Its classifier of rows reads the decoder; ours, which has another name, reads
the encoder alone, and Transformers opens of it the encoder (`T5EncoderModel`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.attention import score_dtype
from electrify.models.dropout import Dropout
from electrify.models.inputs import Inputs
from electrify.models.labels import label_names
from electrify.models.pooling import mean_of_real
from electrify.models.t5 import HEAD_SITE, Read, T5Body, T5EncoderModel, T5Stack, initialize_t5
from electrify.models.t5_config import T5Config


class T5ForConditionalGeneration(T5Body):
    """From text to text: an encoder reads one, a decoder writes the other."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.decoder = T5Stack(config, is_decoder=True)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        initialize_t5(self, config)

    @property
    def body(self) -> "T5ForConditionalGeneration":
        """The network itself: it has no head that could be taken off."""
        return self

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of both stacks; each may be compiled by itself."""
        return nn.ModuleList([*self.encoder.block, *self.decoder.block])

    @property
    def output_table(self) -> Tensor:
        """One vector a token, with which `vectors` are multiplied, (V, H)."""
        return self.shared.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def encode(self, inputs: Inputs) -> Read:
        """Read rows, for the decoder to look at."""
        states = self.encoder(self.shared(inputs.input_ids), inputs)
        padding = Inputs(inputs.input_ids, inputs.attention_mask)  # the decoder looks at all documents
        return Read(states, padding.attention_bias(score_dtype(states)))

    def decode(self, written_ids: Tensor, read: Read, *, dropout_keys: Tensor | None = None) -> Tensor:
        """Return the states from which each next token is predicted, (B, T, H).

        Args:
            written_ids: `decoder_start_token_id` and what has been written so far, (B, T) int64; padding may follow.
            read: What `encode` returned.
            dropout_keys: One key a row, (B,) int64; None for no dropout.
        """
        inputs = Inputs(written_ids, causal=True, dropout_keys=dropout_keys)
        hidden: Tensor = self.decoder(self.shared(written_ids), inputs, read)
        return hidden

    def vectors(self, hidden: Tensor) -> Tensor:
        """Return what is multiplied with the output table, (…, H), for some of the decoder's states, (…, H)."""
        return hidden * self.config.d_model**-0.5 if self.config.scale_decoder_outputs else hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the vocabulary, (…, V), for some of the decoder's states, (…, H)."""
        return F.linear(self.vectors(hidden), self.output_table)

    def forward(self, inputs: Inputs, written_ids: Tensor) -> Tensor:
        """Return the scores of the next token at every written position, (B, T, V); see `decode`."""
        return self.logits(self.decode(written_ids, self.encode(inputs)))


class T5Classifier(nn.Module):
    """An encoder whose states are judged: what classifiers of tokens and of rows have in common.

    Args:
        config: Sizes of the body.
        num_labels: C; may be left out if `labels` is given.
        labels: Names of the classes in the order of the logits.
    """

    def __init__(self, config: T5Config, *, num_labels: int | None = None, labels: Sequence[str] | None = None) -> None:
        super().__init__()
        self.config = config
        self.labels = label_names(num_labels=num_labels, labels=labels)
        self.transformer = T5EncoderModel(config)

    @property
    def body(self) -> T5EncoderModel:
        """The network without its head."""
        return self.transformer


class T5ForTokenClassification(T5Classifier):
    """A classifier of tokens; arguments as for `T5Classifier`."""

    def __init__(self, config: T5Config, *, num_labels: int | None = None, labels: Sequence[str] | None = None) -> None:
        super().__init__(config, num_labels=num_labels, labels=labels)
        self.drop = Dropout(config.classifier_dropout, HEAD_SITE)
        self.classifier = nn.Linear(config.d_model, len(self.labels))
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_t5(self.classifier, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes at every position, (B, T, C)."""
        logits: Tensor = self.classifier(self.drop(self.transformer(inputs), inputs.dropout_keys))
        return logits


class T5EncoderForSequenceClassification(T5Classifier):
    """A classifier of rows, or with one label a regressor, that reads the mean of the encoder's states.

    The head is the one that Transformers puts on T5's decoder: a dense layer, tanh, and the scores. Arguments as for
    `T5Classifier`.
    """

    def __init__(self, config: T5Config, *, num_labels: int | None = None, labels: Sequence[str] | None = None) -> None:
        super().__init__(config, num_labels=num_labels, labels=labels)
        self.classification_head = _ClassificationHead(config, len(self.labels))
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_t5(self.classification_head, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of the classes, (B, C)."""
        return self.classify(self.pooled(inputs), inputs.dropout_keys)

    def pooled(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, H)."""
        return mean_of_real(self.transformer(inputs), inputs.attention_mask)

    def classify(self, pooled: Tensor, keys: Tensor | None) -> Tensor:
        """Return the scores of the classes, (B, C), for what `pooled` returned; `keys` as in the inputs."""
        logits: Tensor = self.classification_head(pooled, keys)
        return logits


class _ClassificationHead(nn.Module):
    def __init__(self, config: T5Config, num_labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.drop = Dropout(config.classifier_dropout, HEAD_SITE)
        self.out_proj = nn.Linear(config.d_model, num_labels)

    def forward(self, pooled: Tensor, keys: Tensor | None) -> Tensor:
        scores: Tensor = self.out_proj(self.drop(torch.tanh(self.dense(pooled)), keys))
        return scores
