"""Settings of a pre-training run: sections, each with what can be set, what it means, its unit and range."""

from typing import Annotated, Literal

from pydantic import Field

from electrify.config.objective import MaskingConfig, ModelConfig, ObjectiveConfig
from electrify.config.section import NotNegative, OpenShare, Positive, Probability, Rate, Section, Share


class DataConfig(Section):
    """What is trained on."""

    path: str | None = None
    """Shard folder made by `electrify prepare`, or its address in object storage ("s3://…"). Must be given."""
    isolate_documents: bool = False
    """Whether attention stays within a document when a row holds several."""


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
    """Length of the run in minutes of training instead; num_steps is then an upper limit, if given with it."""
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
