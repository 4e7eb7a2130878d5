"""Continue a text with a network that predicts next tokens, or answer it with an encoder-decoder.

One token at a time is drawn from the softmax at a temperature, cut to the smallest set of tokens that holds `top_p` of
it (nucleus sampling, Holtzman et al. 2020). The row is read anew for each token; nothing is kept between them.

An encoder-decoder that was trained by span corruption writes what belongs at the sentinels `<extra_id_0>`,
`<extra_id_1>`, … of the prompt; any other prompt is a text to be turned into another, whatever that was in training.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from electrify.data.tokenizer import Tokenizer
from electrify.data.tokenizer_files import load_tokenizer
from electrify.errors import ConfigError, DataError
from electrify.models.causal_heads import CausalLM
from electrify.models.checkpoint import resolve_folder
from electrify.models.inputs import Inputs
from electrify.models.t5_heads import T5ForConditionalGeneration
from electrify.noise import row_keys
from electrify.objectives.vocabulary_pass import draw
from electrify.progress import bar
from electrify.verbs.loading import load_writer

_SENTINEL = re.compile(r"<extra_id_\d+>")
_NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Continuation:
    """What came after a prompt."""

    prompt: str
    text: str
    """The continuation alone, with the space before its first word; of an encoder-decoder what it wrote, sentinels
    included."""
    whole: str
    """Prompt and continuation, or the prompt with its sentinels filled in, or what was written in its place."""
    tokens: list[str]
    ended_by: Literal["end of text", "max_tokens", "model's length"]


@torch.no_grad()
def generate(
    folder: str | Path,
    prompt: str,
    *,
    max_tokens: int = 50,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Continuation:
    """Continue or answer a prompt; the same seed gives the same text.

    Args:
        folder: A causal language model or a T5 network: a run's `decoder/` or `encoder_decoder/`, another published
            folder, or a hub name.
        prompt: May be empty.
        max_tokens: Longest continuation in tokens.
        temperature: Of the softmax; below 1 is sharper, 0 always takes the most likely token.
        top_p: Probability that the tokens drawn from hold together, in (0, 1].
        seed: Of what is drawn.

    Raises:
        CheckpointError: If the folder is neither.
        ConfigError: If a setting is out of range.
        DataError: If the prompt fills the model's length.
    """
    _check(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    path = resolve_folder(folder)
    network, tokenizer = load_writer(path).eval(), load_tokenizer(path)
    limit = network.config.max_position_embeddings
    encoded = tokenizer.encode([prompt], max_length=limit)[0]
    is_answer = isinstance(network, T5ForConditionalGeneration)
    num_read = len(encoded.input_ids) - (0 if is_answer else 1)  # a continuation is without the [SEP] that ends it
    if encoded.num_cut or (num_read >= limit and not is_answer):
        raise DataError(f"the prompt has {num_read + encoded.num_cut} tokens, but the model reads only {limit}.")
    if isinstance(network, T5ForConditionalGeneration):
        ids = [network.config.decoder_start_token_id]
        score = _answering(network, encoded.input_ids)
    else:
        ids = encoded.input_ids[:-1]
        score = _continuing(network)
    special = [token_id for token_id in tokenizer.special_ids if token_id != tokenizer.sep_id]
    never = torch.tensor([*special, *tokenizer.unused_ids(network.config.vocab_size)])
    start, ended_by = len(ids), "max_tokens"
    with bar("Generating", total=max_tokens) as progress:
        for step in range(max_tokens):
            if len(ids) == limit:
                ended_by = "model's length"
                break
            scores = score(ids).float().index_fill(1, never, -torch.inf)
            key = row_keys(seed, step, torch.zeros(1, dtype=torch.long))
            chosen = int(choose(scores, key, temperature=temperature, top_p=top_p))
            if chosen == tokenizer.sep_id:
                ended_by = "end of text"
                break
            ids.append(chosen)
            progress.advance(1)
    new = ids[start:]
    if is_answer:
        text, whole = tokenizer.decode(new, skip_special=False), fill_in(prompt, new, tokenizer)
    else:
        text, whole = _behind(prompt, new, tokenizer)
    return Continuation(prompt, text, whole, [tokenizer.token(one) for one in new], ended_by)  # type: ignore[arg-type]


def _continuing(network: CausalLM) -> Callable[[list[int]], Tensor]:
    """Return what scores the next token, (1, V), of the ids so far."""
    return lambda ids: network.logits(network.hidden_states(Inputs(torch.tensor([ids])))[:, -1])


def _answering(network: T5ForConditionalGeneration, prompt_ids: list[int]) -> Callable[[list[int]], Tensor]:
    """Return what scores the next token, (1, V), of the ids written so far."""
    read = network.encode(Inputs(torch.tensor([prompt_ids])))
    return lambda ids: network.logits(network.decode(torch.tensor([ids]), read)[:, -1])


def fill_in(prompt: str, written: Sequence[int], tokenizer: Tokenizer) -> str:
    """Put what was written behind each sentinel in its place in the prompt; without any, return what was written.

    Args:
        prompt: A sentinel in it that was not answered stays.
        written: Ids of tokens. What stands before the first sentinel, or behind one a second time, belongs nowhere.
        tokenizer: Of the network.
    """
    sentinels = list(_SENTINEL.finditer(prompt))
    if not sentinels:
        return tokenizer.decode(written)
    spans: dict[str, list[int]] = {}
    name = ""
    for token_id in written:
        if _SENTINEL.fullmatch(token := tokenizer.token(token_id)):
            name = token if token not in spans else ""
        else:
            spans.setdefault(name, []).append(token_id)
    whole, end = "", 0
    for found in sentinels:
        whole += prompt[end : found.start()]
        whole = _behind(whole, spans[found[0]], tokenizer)[1] if found[0] in spans else whole + found[0]
        end = found.end()
    return whole + prompt[end:]


def _behind(text: str, new: Sequence[int], tokenizer: Tokenizer) -> tuple[str, str]:
    """Return what some tokens add behind a text, and the whole.

    They are decoded together with the text: a piece of a word joins the last one, a new word has its space.
    """
    ids = tokenizer.encode([text], max_length=_NO_LIMIT)[0].input_ids[1:-1]
    before, both = tokenizer.decode(ids), tokenizer.decode([*ids, *new])
    added = both[len(before) :]
    if not added or not before or before[-1].isspace():
        return added, text + added
    # Of white space that ends the text the tokenizer says nothing: a new word takes it for its space, a piece drops it.
    kept = text.rstrip()
    is_apart = kept != text and added.startswith(" ")
    return added, text + added[1:] if is_apart else kept + added


def choose(scores: Tensor, keys: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Draw a token from each row of scores, (B,) int64.

    Args:
        scores: Of the vocabulary, (B, V) float32.
        keys: Of the random numbers, (B,) int64.
        temperature: 0 takes the highest.
        top_p: The most likely tokens are kept until they hold so much; always one.
    """
    if temperature == 0:
        return scores.argmax(-1)
    below = scores - scores.amax(-1, keepdim=True)  # a division by next to nothing may give -inf, but never inf
    sharp = below / max(temperature, torch.finfo(torch.float32).tiny)
    ordered, ids = sharp.softmax(-1).sort(dim=-1, descending=True)
    is_beyond = ordered.cumsum(-1) - ordered >= top_p  # what stands before already holds enough
    drawn = draw(ordered.masked_fill(is_beyond, 0.0), keys)
    return ids.gather(1, drawn[:, None]).squeeze(1)


def _check(*, max_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    if max_tokens < 1:
        raise ConfigError(f"max_tokens must be at least 1, got {max_tokens}.")
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"temperature must be a finite number, 0 or above, got {temperature}.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p must be in (0, 1], got {top_p}.")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or above, got {seed}.")
