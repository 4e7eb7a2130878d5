"""Settings of a pre-training run: what can be set, what it means, its unit and range.

A recipe is a TOML file with these sections, spelled out in full. The text below each field is its documentation: it is
what `electrify config` prints above the key and what `--help` shows. Nothing here imports torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class DataConfig(Section):
    """What is trained on."""

    path: str | None = None
    """Shard folder made by `electrify prepare`, or its address in object storage ("s3://…"). Must be given."""
    isolate_documents: bool = False
    """Whether attention stays within a document when a row holds several."""


class ModelConfig(Section):
    """The networks. Of two, the sizes are those of the one that is fine-tuned later; generator_* are of the other."""

    body: Literal["electra", "modernbert"] = "modernbert"
    """Kind of network: "electra", as published, or "modernbert" (pre-norm, rotary positions, GeGLU); span has T5's."""
    hidden_size: Positive = 128
    """Width of the discriminator, or of what stands in its place."""
    num_layers: Positive = 4
    """Its layers."""
    num_heads: Positive = 2
    """Its attention heads; must divide hidden_size."""
    intermediate_size: Positive = 512
    """Width inside the feed-forward layers."""
    embedding_size: Positive | None = None
    """Width of the token embeddings; hidden_size if not given. The modernbert body has no other."""
    max_positions: Positive = 512
    """Longest input in tokens that the published model takes."""
    dropout: Probability = 0.0
    """Share of hidden units dropped in all networks."""
    attention_dropout: Probability = 0.0
    """Share of attention weights dropped in all networks."""
    local_attention: Positive = 128
    """modernbert: tokens that a local layer sees around each token, both sides together."""
    global_attention_every: Positive = 3
    """modernbert: every n-th layer sees the whole input, beginning with the first."""
    global_rope_theta: Rate = 160_000.0
    """modernbert: base of the rotary angles in layers that see the whole input; raised for longer inputs."""
    local_rope_theta: Rate = 10_000.0
    """modernbert: the same in local layers, whose reach stays the same however long the input is."""
    attention_gate: bool = False
    """Whether each head's output is multiplied by a sigmoid of the token (docs/recipes.md); opens here alone."""
    relative_bias: bool = False
    """electra: whether attention adds a learned number by distance, as T5's, to its scores; opens here alone."""
    layers_alike: bool = False
    """Whether all layers of a network have one set of weights (ALBERT); published as plain layers."""
    generator_hidden_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Kinds with a generator: its width, feed-forward width and heads, relative to the discriminator."""
    generator_layer_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Kinds with a generator: its layers, relative to the discriminator."""
    embedding_sharing: Literal["none", "word", "all", "gdes"] = "word"
    """Kinds with a generator: none, the words, all of the block, or "gdes": the generator's words and a difference."""
    embedding_init: Literal["normal", "cooccurrence"] = "normal"
    """How token embeddings start: "normal" at random, "cooccurrence" from which tokens stand near which in the data."""
    embedding_std: Rate | None = None
    """Standard deviation of token embeddings at first, 0.02 if not given; larger ones keep more of it; not of span."""
    share_layers: bool = False
    """Kinds with a generator: whether its layers are the discriminator's lowest; needs generator_hidden_ratio = 1."""
    head_init: Literal["normal", "glorot"] = "normal"
    """electra body, kinds that detect: how the discriminator's last layer starts; "glorot" as the original's code."""
    decoder_layer_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """span: layers of the decoder, relative to the encoder."""
    feed_forward: Literal["gated-gelu", "relu"] = "gated-gelu"
    """span: feed-forward layers of T5 v1.1 or of T5."""
    output_matrix: Literal["tied", "own"] = "tied"
    """span: whether words are scored with their embeddings, as in T5, or with a matrix of its own, as in T5 v1.1."""


class MaskingConfig(Section):
    """Which tokens have to be filled in, by the generator where there is one; clm fills in none."""

    mask_prob: OpenShare = 0.15
    """Share of tokens chosen in each row."""
    mask_prob_end: OpenShare | None = None
    """Share at the end of the run, to which it moves on a line; it stays the same if not given."""
    mask_token_prob: Share = 0.85
    """Of those, share shown as [MASK]."""
    random_token_prob: Share = 0.0
    """Of those, share shown as a random token (BERT: 0.1, with mask_token_prob = 0.8); the rest keep their token."""
    unit: Literal["token", "word", "span"] = "token"
    """What is chosen together: single tokens, whole words, or spans of words (SpanBERT); counts are exact in all."""
    span_stop_prob: OpenShare = 0.2
    """span: probability that a span ends after each of its words."""
    max_span_words: Positive = 10
    """span: most words of a span."""
    mean_span_tokens: Annotated[float, Field(ge=1)] = 3.0
    """objective span: mean tokens of a hidden span; unit and what is shown in its place mean nothing there."""
    adaptive: Share = 0.0
    """How far tokens that are hard to predict are preferred: 0 not at all, 1 in proportion to their mean loss."""
    share_of: Literal["candidates", "all_tokens"] = "candidates"
    """What the share is taken of: tokens that may be chosen, or all including [CLS] and [SEP] (as the original)."""
    draw: Literal["distinct", "with_replacement"] = "distinct"
    """Draw distinct positions, or with replacement as the original's code (twice-drawn positions get averaged ids)."""

    @field_validator("random_token_prob")
    @classmethod
    def _fits(cls, value: float, info: ValidationInfo) -> float:
        shown = info.data.get("mask_token_prob", 0.0)
        if value + shown > 1 + 1e-9:
            raise PydanticCustomError(
                "shares", "Input should be at most 1 - mask_token_prob = {rest}", {"rest": f"{1 - shown:g}"}
            )
        return value


class ObjectiveConfig(Section):
    """The loss and the sampling."""

    kind: Literal[
        "rtd",
        "contrastive",
        "halves",
        "mlm",
        "clm",
        "span",
        "hybrid",
        "electric",
        "electra-15",
        "replace-mlm",
        "all-tokens-mlm",
    ] = "rtd"
    """What is trained: "rtd" (ELECTRA), "mlm" (BERT), "clm" (GPT), "span" (T5), and others: docs/objectives.md."""
    gen_weight: NotNegative = 1.0
    """Kinds with a generator, electric: weight of its loss, or of the noise model's."""
    disc_weight: NotNegative = 50.0
    """Kinds that detect, electric: weight of the discriminator's or scorer's loss."""
    disc_weight_start: NotNegative | None = None
    """Kinds that detect: the weight at the start, from which it moves on a line; it stays the same if not given."""
    encoder_weight: NotNegative = 1.0
    """replace-mlm, all-tokens-mlm: weight of the encoder's loss."""
    z_loss: NotNegative = 0.0
    """All but electric and span: weight of the squared log of the vocabulary softmax's denominator, beside its loss."""
    causal_share: OpenShare = 0.0625
    """hybrid: share of rows that are read from left to right, and weight of their loss; one in 16 as GPT-BERT."""
    copy_share: Probability = 0.0
    """span: share of rows that are shown whole and have to be repeated, and weight of their loss."""
    contrast_weight: NotNegative = 1.0
    """contrastive: weight of the loss that tells the two views of a row from those of other rows."""
    contrast_temperature: Rate = 0.1
    """contrastive: what cosines between views are divided by."""
    crop_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    """contrastive: share of a row's tokens, in one stretch, that its cropped view keeps."""
    halves_weight: NotNegative = 1.0
    """halves: weight of the loss on whether a row's halves belong together."""
    pooling: Literal["mean", "cls"] = "mean"
    """contrastive, halves: what a row's vector is, the mean of its hidden states or the first one."""
    temperature: Rate = 1.0
    """Kinds with a generator: temperature at which it is sampled; below 1 is sharper."""
    temperature_start: Rate | None = None
    """Kinds with a generator: the temperature at the start, which moves by a constant factor; the same if not given."""
    exclude_original: bool = False
    """Kinds with a generator: whether the original token can not be drawn."""
    generator_dropout: bool = True
    """Kinds with a generator: whether dropout is in its pass, from which the samples come too."""
    freeze_generator: bool = False
    """Kinds that detect: whether a generator from init_from stays as it is (Fast-ELECTRA)."""


class OptimizerConfig(Section):
    """The update and clipping."""

    kind: Literal["adamw", "muon", "lion", "lamb", "schedule-free"] = "adamw"
    """"adamw"; "muon" for the matrices inside layers, with AdamW for all else; others: docs/recipes.md."""
    learning_rate: Rate = 5e-4
    """Peak learning rate."""
    beta1: Probability = 0.9
    """Decay of the mean of gradients."""
    beta2: Probability = 0.999
    """Decay of the mean of squared gradients."""
    epsilon: Rate = 1e-6
    """Added to the root of the mean of squared gradients."""
    weight_decay: NotNegative = 0.01
    """How strongly weights are drawn to zero; norms and biases are not."""
    weight_decay_form: Literal["decoupled", "l2"] = "decoupled"
    """"decoupled" shrinks weights beside the update; "l2" adds the penalty's gradient to the clipped one."""
    bias_correction: bool = True
    """Whether Adam's means are corrected for their start at zero; the original's code does not."""
    max_grad_norm: Rate = 1.0
    """Gradients are scaled down to this global norm."""
    ema_decay: OpenShare | None = None
    """What a step leaves of a moving average of the weights, which is evaluated and published; none if not given."""
    muon_scale: Rate = 1.0
    """muon: factor on the learning rate of what Muon updates; at 1 its updates are as large as AdamW's."""
    muon_momentum: Probability = 0.95
    """muon: decay of the mean of gradients."""


class ScheduleConfig(Section):
    """How long, and the learning rate on the way."""

    kind: Literal["linear", "linear_times_warmup", "cosine", "warmup_stable_decay", "constant"] = "linear"
    """Shape after the warm-up; "linear_times_warmup" falls from the first step and multiplies the warm-up."""
    num_steps: Positive = 10_000
    """Length of the run in optimizer steps."""
    budget_minutes: Rate | None = None
    """Length of the run in minutes of training instead; num_steps is then only an upper limit."""
    warmup_share: Share = 0.01
    """Share of the run over which the learning rate rises."""
    decay_share: OpenShare = 0.2
    """warmup_stable_decay: share of the run over which the learning rate falls at the end."""
    length_start: Annotated[int, Field(ge=8)] | None = None
    """Tokens into which rows are cut in the first step; the pieces grow to whole rows. Never cut if not given."""
    length_warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Steps over which the pieces grow."""
    start_step: Annotated[int, Field(ge=0)] = 0
    """Step at which this schedule begins; above 0 in a run that was extended by a second warm-up."""


class TrainingConfig(Section):
    """The step."""

    batch_size: Positive = 64
    """Rows per optimizer step, over all devices."""
    batch_size_start: Positive | None = None
    """Rows of the first step, from which the batch grows to batch_size; it is full from the start if not given."""
    batch_warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Steps over which the batch grows."""
    micro_batch_size: Positive | None = None
    """Rows per forward pass on one device; the whole batch if not given. Gradients are accumulated."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the matrix products; "auto" is bf16 where the machine has it. Weights and losses are fp32."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: "ddp", all weights on each; "fsdp", a part on each; "auto", ddp where they fit."""
    timeout_minutes: Rate = 10.0
    """How long a process waits for another before the run is given up."""
    kernels: Literal["auto", "plain"] = "auto"
    """Whether compiled kernels do what they can ("auto"), or torch does all; the same random numbers either way."""
    compile: bool = False
    """Whether torch compiles each layer in the first step; pays on a GPU, in long runs."""
    on_bad_step: Literal["stop", "skip", "rollback"] = "skip"
    """On a loss or gradient that is no number, or a spike: end, leave out the update, or go back to the last state."""
    max_bad_steps: Positive = 10
    """Bad steps within 1,000 that are put up with; one more ends the run."""
    spike_deviations: Rate | None = None
    """Standard deviations above the mean of the last 128 steps that make a spike; not looked for if not given."""


class EvaluationConfig(Section):
    """Held-out evaluation while training."""

    every_steps: Positive = 500
    """Steps between evaluations; there is always one at the end."""
    num_rows: Positive = 256
    """Rows of the validation part that are used, the same ones each time."""


class LoggingConfig(Section):
    """What is written to metrics.jsonl and TensorBoard."""

    every_steps: Positive = 50
    """Steps that one line of metrics stands for."""
    tensorboard: bool = True
    """Whether TensorBoard events are written too."""


class CheckpointConfig(Section):
    """States to continue from."""

    every_steps: Positive = 1000
    """Steps between saved states; there is always one at the end."""
    keep_last: Positive = 2
    """States that are kept."""
    on_save_error: Literal["stop", "continue"] = "stop"
    """What happens when a state can not be written: end with a message, or train on and try again the next time."""


class PretrainConfig(Section):
    """Everything that defines a pre-training run; the same config and data repeat it."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of initial weights, order of rows, masks, samples and dropout."""
    init_from: str | None = None
    """Published folder to start from: a run's, or that of one network; its sizes take the place of [model]'s."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    masking: MaskingConfig = MaskingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    logging: LoggingConfig = LoggingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


class QuestionConfig(Section):
    """Extractive question answering; the defaults are ELECTRA's."""

    head: Literal["plain", "joint"] = "plain"
    """"plain" scores start and end apart, as Transformers; "joint" is ELECTRA's: end given start, and answerability."""
    max_question_length: Positive = 64
    """Longest question in tokens; longer ones are cut and counted."""
    stride: Positive = 128
    """Tokens from one window of a long context to the next."""
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


class CleaningConfig(Section):
    """What `prepare` repairs and leaves out. By default nothing; all that is left out is counted by reason."""

    repair: bool = False
    """Repair wrongly decoded text (mojibake), HTML entities and control characters with ftfy, before anything else."""
    min_letters: Annotated[int, Field(ge=0)] = 0
    """Shortest document in letters."""
    max_letters: Positive | None = None
    """Longest document in letters; no limit if not given."""
    min_compressed_share: Share = 0.0
    """Lowest compressed size as a share of the bytes; below is repetitive. Only documents of 256 bytes or more."""
    max_compressed_share: Share = 1.0
    """Highest compressed size as a share of the bytes; above are random letters and encoded data."""
    max_symbol_share: Share = 1.0
    """Highest share of letters that are neither alphanumeric nor white space."""
    max_repeated_line_share: Share = 1.0
    """Highest share of letters in lines that came before in the document."""
    max_repeated_ngram_share: Share = 1.0
    """Highest share of words in sequences of five words that came before in the document."""
    languages: tuple[str, ...] = ()
    """Languages that are kept, as two-letter codes ("en"), told by py3langid; all if not given."""
    duplicates: Literal["keep", "exact", "near"] = "keep"
    """Leave out all but the first of equal documents, or also of near-duplicates (MinHash of five-word sequences)."""


class ExecutorConfig(Section):
    """Where `prepare` works. The folder that comes out has the same bytes everywhere."""

    kind: Literal["local", "slurm", "ray"] = "local"
    """This machine, or datatrove's executor for a Slurm or a Ray cluster."""
    tasks: Positive | None = None
    """slurm, ray, near-duplicates: tasks into which the files are dealt; one for each file if not given."""
    workers: Positive | None = None
    """slurm, ray: tasks that run at the same time; all if not given."""
    partition: str = "main"
    """slurm: partition."""
    time_limit: str = "24:00:00"
    """slurm: time limit of a task."""
    memory_gb: Positive = 2
    """slurm, ray: memory of a task in GB."""
