"""How Chinese answers are compared: the rules of the CMRC 2018 evaluation script (Cui et al. 2019).

Chinese is counted by characters, the rest between them by words (mixed segmentation), and the script's own list of
punctuation is removed; ASCII full stops and commas are not on it. F1 is that of the longest common stretch of segments
with the answer's and the accepted one's lengths, not of bags. The script has no questions without an answer; here
saying nothing is right where nothing is accepted, as in SQuAD 2.0.

Words are those of NLTK's Treebank tokenizer, without the script's cut into sentences before it, whose model NLTK
downloads: a full stop inside of several foreign sentences stays on its word.
"""

import re
from collections.abc import Sequence

from electrify.errors import ElectrifyError

_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""The script's list; its "……" has two characters and so never meets one."""
_CHINESE = re.compile("[\u4e00-\u9fa5]")


def exact_match(given: str, accepted: Sequence[str]) -> float:
    """Return 1 if an answer equals one of those accepted but for punctuation and case, else 0."""
    return float(any(_without_punctuation(given) == _without_punctuation(one) for one in accepted or [""]))


def f1(given: str, accepted: Sequence[str]) -> float:
    """Return the best F1 of an answer over those accepted, in [0, 1].

    Raises:
        ElectrifyError: If NLTK is needed and not installed.
    """
    return max(_f1(segments(given), segments(one)) for one in accepted or [""])


def segments(text: str) -> list[str]:
    """Return a text as it is compared: a segment for each Chinese character and each word of the rest."""
    found: list[str] = []
    foreign = ""
    for letter in _without_punctuation(text):
        if _CHINESE.match(letter):
            found += [*_words(foreign), letter]
            foreign = ""
        else:
            foreign += letter
    return [*found, *_words(foreign)]


def _without_punctuation(text: str) -> str:
    return "".join(letter for letter in text.lower().strip() if letter not in _PUNCTUATION)


def require_nltk() -> None:
    """Say how to install NLTK if it is not there.

    Raises:
        ElectrifyError: If it is not.
    """
    try:
        import nltk  # noqa: F401
    except ImportError:
        raise ElectrifyError("nltk is not installed: pip install 'electrify[finetune]'.") from None


def _words(text: str) -> list[str]:
    if not text.strip() or text.isdigit():
        return text.split()
    require_nltk()
    from nltk.tokenize import NLTKWordTokenizer

    return [str(word) for word in NLTKWordTokenizer().tokenize(text)]


def _f1(given: list[str], accepted: list[str]) -> float:
    if not given or not accepted:
        return float(given == accepted)
    return 2 * _longest_common(given, accepted) / (len(given) + len(accepted))


def _longest_common(one: list[str], other: list[str]) -> int:
    """Return the length of the longest stretch that both have."""
    longest = 0
    before = [0] * (len(other) + 1)  # of the stretches that end at the previous segment of `one` and each of `other`
    for segment in one:
        row = [0]
        for index, there in enumerate(other):
            row.append(before[index] + 1 if segment == there else 0)
        longest = max(longest, *row)
        before = row
    return longest
