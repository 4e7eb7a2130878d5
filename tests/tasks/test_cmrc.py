"""The rules of CMRC 2018's script (cmrc2018_evaluate.py); values worked out by hand from them."""

import pytest

from electrify.tasks.cmrc import exact_match, f1, segments

pytest.importorskip("nltk")


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        ("1963年", ["1963", "年"]),
        ("《红楼梦》", ["红", "楼", "梦"]),
        ("Death Adder死亡蛇", ["death", "adder", "死", "亡", "蛇"]),
        ("约3.5%的人", ["约", "3.5", "%", "的", "人"]),  # a word each: number and sign, as the Treebank has them
        ("A-B，c", ["abc"]),  # marks of the list go before words are found
        ("你好.", ["你", "好", "."]),  # ASCII full stops are not on the list
        ("don't", ["do", "n't"]),
        ("……", ["……"]),  # two characters on a list of single ones: it stays
        ("㐀", ["㐀"]),
        (" ", []),
    ],
)
def test_chinese_is_cut_into_characters_and_the_rest_into_words(answer: str, compared: list[str]) -> None:
    assert segments(answer) == compared


@pytest.mark.parametrize(
    ("given", "accepted", "exact", "score"),
    [
        ("1963年", ["1963年"], 1, 1),
        ("“1963年”。", ["1963年"], 1, 1),
        ("1963年5月", ["1963年"], 0, 2 * 2 / (4 + 2)),
        ("月年", ["年月"], 0, 0.5),  # one character in a row, where bags would say 1
        ("红色的楼", ["红楼"], 0, 2 * 1 / (4 + 2)),
        ("死亡蛇 death", ["Death Adder", "死亡蛇"], 0, 2 * 3 / (4 + 3)),
        ("北京", ["上海", "北京市"], 0, 2 * 2 / (2 + 3)),
        ("北京", ["上海"], 0, 0),
        ("", ["上海"], 0, 0),
        ("", [], 1, 1),
        ("上海", [], 0, 0),
        ("。", ["，"], 1, 1),  # the script divides by the number of segments; nothing left on both sides is equal
    ],
)
def test_scores_are_those_of_the_script(given: str, accepted: list[str], exact: float, score: float) -> None:
    assert exact_match(given, accepted) == exact
    assert f1(given, accepted) == pytest.approx(score)
