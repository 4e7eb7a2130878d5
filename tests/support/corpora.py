"""A small language that can be learned, its tokenizer and shards, and labelled examples in it.

Every animal has its own sound, place and food, so that a hidden word follows from its neighbours.
"""

import json
import random
from pathlib import Path

from electrify.data.tokenizer import SPECIAL_TOKENS
from electrify.data.tokenizer_files import from_vocabulary
from electrify.verbs.prepare import prepare

ANIMALS = ("cat", "dog", "cow", "owl", "bee", "fox")
SOUNDS = ("meows", "barks", "moos", "hoots", "hums", "yips")
PLACES = ("house", "yard", "field", "forest", "garden", "den")
FOODS = ("fish", "bones", "grass", "mice", "nectar", "rabbits")
FRAME = ("the", "in", "and", "eats", ".")
MAX_LENGTH = 24


def sentence(number: int) -> str:
    """The one sentence about an animal, 10 words."""
    animal, sound, place, food = ANIMALS[number], SOUNDS[number], PLACES[number], FOODS[number]
    return f"the {animal} {sound} in the {place} and eats {food} ."


def write_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    words = [*ANIMALS, *SOUNDS, *PLACES, *FOODS, *FRAME]
    from_vocabulary([*SPECIAL_TOKENS, *words], is_cased=True).save(folder)
    return folder


def write_corpus(path: Path, *, num_documents: int = 400, seed: int = 0) -> Path:
    """Documents of one to three sentences, one a line."""
    draw = random.Random(seed)
    lines = [
        " ".join(sentence(draw.randrange(len(ANIMALS))) for _ in range(draw.randint(1, 3)))
        for _ in range(num_documents)
    ]
    path.write_text("\n\n".join(lines) + "\n")
    return path


def write_shards(folder: Path, *, validation_share: float = 0.1, seed: int = 0, **settings: object) -> Path:
    """A tokenizer, a corpus and `folder/shards` made from them."""
    tokenizer = write_tokenizer(folder / "tokenizer")
    corpus = write_corpus(folder / "corpus.txt", seed=seed)
    held_out = {"validation_share": validation_share}
    if validation_share:  # the few different documents make a share by hash uneven; other files do not
        held_out = {"validation": [write_corpus(folder / "held-out.txt", num_documents=40, seed=seed + 1)]}
    prepare(
        [corpus],
        tokenizer=tokenizer,
        output=folder / "shards",
        processes=1,
        **{"max_length": MAX_LENGTH, **held_out, **settings},
    )
    return folder / "shards"


def write_one_word_shards(folder: Path) -> Path:
    """Shards of one word again and again: soon a generator is always right, and nothing is replaced."""
    tokenizer = write_tokenizer(folder / "tokenizer")
    (folder / "train.txt").write_text("\n\n".join(["cat " * 30] * 60))
    (folder / "held-out.txt").write_text("cat " * 30)
    prepare(
        [folder / "train.txt"],
        tokenizer=tokenizer,
        output=folder / "shards",
        validation=[folder / "held-out.txt"],
        max_length=16,
        processes=1,
    )
    return folder / "shards"


def write_examples(path: Path, *, num_examples: int, seed: int = 0, num_labels: int = 2) -> Path:
    """Labelled sentences: the label says to which third or half of the animals the one in the text belongs."""
    draw = random.Random(seed)
    labels = ("pet", "wild", "farm")
    rows = []
    for _ in range(num_examples):
        number = draw.randrange(len(ANIMALS))
        rows.append({"text": sentence(number), "label": labels[number % num_labels]})
    return write_rows(path, rows)


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
