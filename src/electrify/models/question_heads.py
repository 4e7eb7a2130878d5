"""Networks that find the answer to a question inside a text.

The plain ones, as Transformers has them, score every token as start and as end by itself. The joint ones are ELECTRA's
own: the end is scored given the start, and a further output says whether there is an answer at all (Clark et al. 2020,
appendix B, and the `qa_tasks` of their code). Transformers has no class for a joint one; its body opens there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electrify.models.electra import ElectraConfig, initialize_electra
from electrify.models.electra_heads import ElectraNetwork
from electrify.models.initialization import truncated_normal
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig
from electrify.models.modernbert_heads import ModernBertClassifier, ModernBertNetwork

_JOINT_WIDTH = 512  # Clark et al. 2020, code: size of the layer between a start and its end


class ElectraForQuestionAnswering(ElectraNetwork):
    """Start and end of an answer, each scored by itself."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        initialize_electra(self.qa_outputs, self.config)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of every token as start and as end, (B, T, 2)."""
        logits: Tensor = self.qa_outputs(self.electra(inputs))
        return logits


class ModernBertForQuestionAnswering(ModernBertClassifier):
    """Start and end of an answer, each scored by itself."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config, num_outputs=2)
        self.reset_head()

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the scores of every token as start and as end, (B, T, 2)."""
        return self.scores(self.model(inputs), inputs.dropout_keys)


class JointSpanHead(nn.Module):
    """Scores starts, ends given a start, and whether there is an answer.

    Args:
        hidden_size: H.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.start = nn.Linear(hidden_size, 1)
        self.end_dense = nn.Linear(2 * hidden_size, _JOINT_WIDTH)
        self.end = nn.Linear(_JOINT_WIDTH, 1)
        self.answerable_dense = nn.Linear(2 * hidden_size, _JOINT_WIDTH)
        self.answerable = nn.Linear(_JOINT_WIDTH, 1)

    def reset(self, std: float) -> None:
        """Draw new values: truncated normal, biases 0."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                truncated_normal(part, std=std)

    def start_logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of every token as start, (B, T)."""
        logits: Tensor = self.start(hidden).squeeze(-1)
        return logits

    def end_logits(self, hidden: Tensor, starts: Tensor) -> Tensor:
        """Return the scores of every token as end of an answer that begins at each of K starts.

        Args:
            hidden: (B, T, H).
            starts: Positions, (B, K) int64.

        Returns:
            (B, K, T).
        """
        begun = hidden.gather(1, starts[..., None].expand(-1, -1, hidden.shape[-1]))  # (B, K, H)
        # The dense layer of two halves side by side is the sum of two products: (B, K, T, 2H) never exists.
        of_token, of_start = self.end_dense.weight.chunk(2, dim=1)
        mixed = F.linear(hidden, of_token, self.end_dense.bias)[:, None] + F.linear(begun, of_start)[:, :, None]
        logits: Tensor = self.end(F.gelu(mixed)).squeeze(-1)
        return logits

    def answerable_logits(self, hidden: Tensor, start_logits: Tensor) -> Tensor:
        """Return the scores of there being an answer, (B,), from the expected start and the first token."""
        expected = torch.einsum("bt,bth->bh", start_logits.float().softmax(-1).to(hidden.dtype), hidden)
        mixed = F.gelu(self.answerable_dense(torch.cat([expected, hidden[:, 0]], dim=-1)))
        logits: Tensor = self.answerable(mixed).squeeze(-1)
        return logits


class ElectraForJointQuestionAnswering(ElectraNetwork):
    """ELECTRA's own network for questions; see the top of the file."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.answer_head = JointSpanHead(config.hidden_size)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        self.answer_head.reset(self.config.initializer_range)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        hidden: Tensor = self.electra(inputs)
        return hidden


class ModernBertForJointQuestionAnswering(ModernBertNetwork):
    """The same head on the other body."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.answer_head = JointSpanHead(config.hidden_size)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw new values for the head."""
        self.answer_head.reset(self.config.initializer_range)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return what the head reads, (B, T, H)."""
        hidden: Tensor = self.model(inputs)
        return hidden
