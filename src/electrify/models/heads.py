"""Which network does which job, for each body."""

from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.electra_heads import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
)
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.models.modernbert_heads import (
    ModernBertForMaskedLM,
    ModernBertForPreTraining,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)

BodyConfig = ElectraConfig | ModernBertConfig
Body = ElectraModel | ModernBertModel
Generator = ElectraForMaskedLM | ModernBertForMaskedLM
Discriminator = ElectraForPreTraining | ModernBertForPreTraining
SequenceClassifier = ElectraForSequenceClassification | ModernBertForSequenceClassification
TokenClassifier = ElectraForTokenClassification | ModernBertForTokenClassification
Network = Body | Generator | Discriminator | SequenceClassifier | TokenClassifier


def build_generator(config: BodyConfig) -> Generator:
    """Build a generator with new first values."""
    return ElectraForMaskedLM(config) if isinstance(config, ElectraConfig) else ModernBertForMaskedLM(config)


def build_discriminator(config: BodyConfig) -> Discriminator:
    """Build a discriminator with new first values."""
    return ElectraForPreTraining(config) if isinstance(config, ElectraConfig) else ModernBertForPreTraining(config)
