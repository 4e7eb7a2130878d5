"""Which network does which job, for each body."""

from electrify.models.causal_heads import CausalLM, ElectraForCausalLM, ModernBertDecoderForCausalLM
from electrify.models.choice_heads import ElectraForMultipleChoice, ModernBertForMultipleChoice
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from electrify.models.intent_heads import ElectraForIntentAndSlots, ModernBertForIntentAndSlots
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import (
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)
from electrify.models.question_heads import (
    ElectraForJointQuestionAnswering,
    ElectraForQuestionAnswering,
    ModernBertForJointQuestionAnswering,
    ModernBertForQuestionAnswering,
)
from electrify.models.t5 import T5EncoderModel
from electrify.models.t5_config import T5Config
from electrify.models.t5_heads import (
    T5EncoderForSequenceClassification,
    T5ForConditionalGeneration,
    T5ForTokenClassification,
)

BodyConfig = ElectraConfig | ModernBertConfig
"""Of the bodies that all objectives but `span` train."""
AnyConfig = BodyConfig | T5Config
Body = ElectraModel | ModernBertModel | T5EncoderModel | T5ForConditionalGeneration
"""A network without a head, and the encoder-decoder, which has none."""
BODIES: dict[type[AnyConfig], type[Body]] = {
    ElectraConfig: ElectraModel,
    ModernBertConfig: ModernBertModel,
    T5Config: T5EncoderModel,
}
"""The body that reads a text for a task, by the config of its folder."""
Generator = ElectraForMaskedLM | ModernBertForMaskedLM
"""A network with a head over the vocabulary; a `CausalLM` is one that reads from left to right."""
Discriminator = ElectraForPreTraining | ModernBertForPreTraining
SequenceClassifier = (
    ElectraForSequenceClassification | ModernBertForSequenceClassification | T5EncoderForSequenceClassification
)
TokenClassifier = ElectraForTokenClassification | ModernBertForTokenClassification | T5ForTokenClassification
QuestionAnswerer = ElectraForQuestionAnswering | ModernBertForQuestionAnswering
JointQuestionAnswerer = ElectraForJointQuestionAnswering | ModernBertForJointQuestionAnswering
Chooser = ElectraForMultipleChoice | ModernBertForMultipleChoice
IntentReader = ElectraForIntentAndSlots | ModernBertForIntentAndSlots
TaskNetwork = SequenceClassifier | TokenClassifier | QuestionAnswerer | JointQuestionAnswerer | Chooser | IntentReader
Network = Body | Generator | Discriminator | TaskNetwork


def body_of(network: Network) -> Body:
    """Return the body of a network, which a bare body is itself."""
    return network if isinstance(network, Body) else network.body


def build_generator(config: BodyConfig) -> Generator:
    """Build a generator with new first values."""
    return ElectraForMaskedLM(config) if isinstance(config, ElectraConfig) else ModernBertForMaskedLM(config)


def build_decoder(config: BodyConfig) -> CausalLM:
    """Build a network that predicts next tokens, with new first values."""
    return ElectraForCausalLM(config) if isinstance(config, ElectraConfig) else ModernBertDecoderForCausalLM(config)


def build_discriminator(config: BodyConfig) -> Discriminator:
    """Build a discriminator with new first values."""
    return ElectraForPreTraining(config) if isinstance(config, ElectraConfig) else ModernBertForPreTraining(config)
