"""Small files for every kind of labelled task, in the language of `corpora`, that a tiny network can learn."""

import random
from pathlib import Path

from support.corpora import ANIMALS, PLACES, sentence, write_rows


def write_task(kind: str, path: Path, *, num_examples: int = 96, seed: int = 0) -> Path:
    """Write examples of one kind of task."""
    draw = random.Random(seed)
    return write_rows(path, [MAKERS[kind](draw.randrange(len(ANIMALS)), draw, row) for row in range(num_examples)])


def _text(number: int, draw: random.Random, row: int) -> dict[str, object]:
    return {"text": sentence(number), "label": ("pet", "wild")[number % 2]}


def _several(number: int, draw: random.Random, row: int) -> dict[str, object]:
    return {"text": sentence(number), "labels": [name for name, is_so in (
        ("even", number % 2 == 0), ("small", number < 3)) if is_so]}  # fmt: skip


def _score(number: int, draw: random.Random, row: int) -> dict[str, object]:
    return {"text": sentence(number), "score": float(number) / 2}


def _candidate(number: int, draw: random.Random, row: int) -> dict[str, object]:
    query = row // 4
    right = row % 4 == query % 4
    shown = 0 if right else 1 + draw.randrange(5)
    return {"qid": f"q{query}", "query": "the cat", "candidate": sentence(shown), "label": int(right)}


def _tags(number: int, draw: random.Random, row: int) -> dict[str, object]:
    words = sentence(number).split()
    tags = ["O"] * len(words)
    tags[0:2] = ["B-ANIMAL", "I-ANIMAL"]
    tags[words.index(PLACES[number])] = "B-PLACE"
    return {"tokens": words, "tags": tags}


def _question(number: int, draw: random.Random, row: int) -> dict[str, object]:
    """Where an animal is, or a question without an answer."""
    context, place = sentence(number), PLACES[number]
    answers = {"text": [place], "answer_start": [context.index(place)]}
    if draw.random() < 0.3:
        return {"id": row, "question": "bones", "context": context, "answers": {"text": [], "answer_start": []}}
    return {"id": row, "question": "in", "context": context, "answers": answers}


def _choice(number: int, draw: random.Random, row: int) -> dict[str, object]:
    choices = ["the cat", "the dog", "the cow"]
    draw.shuffle(choices)
    return {"text": "meows", "choices": choices, "label": choices.index("the cat")}


def _intent(number: int, draw: random.Random, row: int) -> dict[str, object]:
    return _tags(number, draw, row) | {"label": ("pet", "wild")[number % 2]}


MAKERS = {
    "classification": _text,
    "multilabel": _several,
    "regression": _score,
    "ranking": _candidate,
    "tagging": _tags,
    "question_answering": _question,
    "multiple_choice": _choice,
    "intent_slots": _intent,
}
