"""Settings of fine-tuning on labelled examples."""

from typing import Annotated, Literal

from pydantic import Field

from electrify.config.section import NotNegative, Positive, Probability, Rate, Section, Share


class QuestionConfig(Section):
    """Extractive question answering; the defaults are ELECTRA's."""

    head: Literal["plain", "joint"] = "plain"
    """"plain" scores start and end apart, as Transformers; "joint" is ELECTRA's: end given start, and answerability."""
    max_question_length: Positive = 64
    """Longest question in tokens; longer ones are cut and counted."""
    stride: Positive = 128
    """Tokens from one window of a long context to the next; at most three quarters of a window, so that all is read."""
    max_answer_length: Positive = 30
    """Longest answer in tokens."""
    beam: Positive = 20
    """Starts, and ends of each, that are considered."""
    answerable_weight: NotNegative = 0.5
    """joint: weight of the loss on whether there is an answer."""


class FinetuneConfig(Section):
    """Fine-tuning on labelled examples. The defaults are ELECTRA's for small and base models."""

    learning_rate: Rate = 1e-4
    """Peak learning rate, of the head; see layerwise_lr_decay."""
    layerwise_lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Factor on the learning rate from each layer to the one below it; 1 means the same for all."""
    layerwise_form: Literal["paper", "code"] = "paper"
    """"paper" gives the top layer decay¹; "code", as the original's code, decay² and so on down."""
    frozen_layers: Annotated[int, Field(ge=0)] = 0
    """Lowest layers that do not learn; the embeddings do not either then. 0 freezes nothing."""
    num_epochs: Positive = 3
    """Passes over the training examples; the best one by the validation part is kept."""
    early_stopping: Positive | None = None
    """Epochs without a better metric after which a seed ends; none if not given."""
    batch_size: Positive = 32
    """Examples per optimizer step."""
    micro_batch_size: Positive | None = None
    """Examples per forward pass; as many as fit into 16,384 tokens if not given. Gradients are accumulated."""
    max_length: Positive = 128
    """Longest row in tokens, special ones included; what is longer is cut and counted, or read in windows."""
    long_texts: Literal["cut", "logits", "hidden"] = "cut"
    """Single texts over max_length: cut, or read in windows whose logits or hidden states are averaged."""
    window_overlap: Annotated[int, Field(ge=0)] = 32
    """Tokens that neighbouring windows share, of long texts and of long tagged sentences."""
    schedule: Literal["linear", "linear_times_warmup", "cosine"] = "linear"
    """Shape of the learning rate after its warm-up; "linear_times_warmup" is the original's code."""
    warmup_share: Share = 0.1
    """Share of the run over which the learning rate rises; it then falls to zero."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; norms and biases have none."""
    bias_correction: bool = True
    """Whether Adam's means are corrected for their start at zero; the original's code does not."""
    max_grad_norm: Rate = 1.0
    """Gradients are scaled down to this global norm."""
    dropout: Probability = 0.1
    """Share of hidden units, attention weights and head inputs dropped."""
    head: Literal["transformers", "original"] = "transformers"
    """Head of a classifier: Transformers' two layers, or ELECTRA's own single one (opens as a token classifier
    there)."""
    label_smoothing: Probability = 0.0
    """classification: share of the target that is spread over all labels."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """classification: "balanced" weighs examples by how rare their label is in training."""
    positive_label: str | None = None
    """classification, ranking: the label whose F1 or rank counts; of two, the second in the alphabet if not given."""
    both_orders: bool = False
    """Pairs: train on both orders, where order has no meaning."""
    question: QuestionConfig = QuestionConfig()
    metric: str | None = None
    """What chooses the best epoch and seed; the task's first metric if not given."""
    checkpoint_minutes: NotNegative = 5.0
    """Minutes of training between saved states to resume from."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the matrix products; "auto" is bf16 where the machine has it."""
