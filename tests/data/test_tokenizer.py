import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from support.byte_level import byte_level
from tokenizers import models
from transformers import AutoTokenizer, BertTokenizer, ElectraConfig, ModernBertConfig

from electrify.data.tokenizer import SPECIAL_TOKENS, Tokenizer, longest_first
from electrify.data.tokenizer_files import from_vocabulary, load_tokenizer
from electrify.errors import ConfigError, DataError

LETTERS = [chr(code) for code in range(33, 127)] + list("äöüßéàçİıŞ中文字日本語한국") + ["😀", "👍", "\u2028"]
VOCABULARY = [*SPECIAL_TOKENS, *LETTERS, *[f"##{letter}" for letter in LETTERS], "the", "then", "##en", "Mask", "mask"]
DIGITS = {"type": "Digits", "individual_digits": True}
NASTY = [
    "Crème brûlée à l'été, NAÏVE Façade",
    "中文字 mixed with 日本語 and 한국",
    "emoji 😀👍🏽 and a family 👨‍👩‍👧",
    "control \x00\x01\x7f\u200b\u2028\ufeff tab\tline\nend",
    "a [MASK] in [CLS] text [SEP] [PAD] [UNK] [mask][MASK]x",
    "w" * 100 + " " + "w" * 101,
    "İstanbul ẞ ß ﬁ ½ ①",
    'don\'t -- "q" #tag @me http://a.b/c?d=e_f ##the',
    "   ",
    "\ud7ff\ue000\U0010ffff",
]


@pytest.fixture(scope="module", params=[True, False], ids=["cased", "uncased"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return from_vocabulary(VOCABULARY, is_cased=request.param)


@pytest.mark.parametrize("config", [ElectraConfig(), ModernBertConfig()], ids=["electra", "modernbert"])
def test_saved_folder_gives_the_same_ids_in_transformers(
    tmp_path: Path, tokenizer: Tokenizer, config: ElectraConfig | ModernBertConfig
) -> None:
    config.save_pretrained(tmp_path)
    tokenizer.save(tmp_path, max_length=40, has_token_types=isinstance(config, ElectraConfig))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 40
    assert theirs.mask_token_id == tokenizer.mask_id
    for text in NASTY:
        assert tokenizer.encode([text], max_length=40)[0].input_ids == theirs(text, truncation=True)["input_ids"]
        for pair in NASTY:
            for max_length in (40, 17, 16):
                ours = tokenizer.encode([text], [pair], max_length=max_length)[0]
                expected = theirs(text, pair, truncation=True, max_length=max_length)
                assert ours.input_ids == expected["input_ids"]
                assert ours.token_type_ids == expected.get("token_type_ids", ours.token_type_ids)
    assert ("token_type_ids" in theirs("a", "b")) == isinstance(config, ElectraConfig)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("normalizer", {"clean_text": False}),
        ("normalizer", {"handle_chinese_chars": False}),
        ("model", {"max_input_chars_per_word": 3}),
        ("pre_tokenizer", {"type": "WhitespaceSplit"}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, DIGITS]}),
    ],
)
def test_changed_tokenizer_gives_the_same_ids_in_transformers(
    tmp_path: Path, part: str, changes: dict[str, object]
) -> None:
    state = json.loads(from_vocabulary([*VOCABULARY, "19", "##\x7f", "\x7f"], is_cased=False).to_json())
    state[part] |= changes
    changed = Tokenizer.from_json(json.dumps(state))
    ElectraConfig().save_pretrained(tmp_path)
    changed.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ["in 1984", "then", "中文", "a-b", *NASTY]:
        assert changed.encode([text], max_length=400)[0].input_ids == theirs(text)["input_ids"]


def test_saved_folder_states_how_words_are_normalised(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] == (tokenizer.encode_plain(["THE"]) == tokenizer.encode_plain(["the"]))
    assert config["strip_accents"] is None
    assert config["tokenize_chinese_chars"] is True


@pytest.mark.parametrize("name", ["", "tokenizer.json", "vocab.txt"])
def test_saved_tokenizer_loads_as_the_same_from_folder_and_from_either_file(
    tmp_path: Path, tokenizer: Tokenizer, name: str
) -> None:
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path / name).digest == tokenizer.digest


def test_bare_vocabulary_is_uncased_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    mask = VOCABULARY.index("mask")
    assert load_tokenizer(tmp_path).encode_plain(["Mask"]) == [[mask]]
    assert load_tokenizer(tmp_path, is_cased=True).encode_plain(["Mask"]) == [[VOCABULARY.index("Mask")]]
    assert load_tokenizer(tmp_path).vocab_size == len(VOCABULARY)


@pytest.mark.parametrize(("splits", "expected"), [(True, [5, 6]), (False, [7])])
def test_bare_vocabulary_splits_chinese_as_the_file_beside_it_says(
    tmp_path: Path, splits: bool, expected: list[int]
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "中", "国", "中国"]) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenize_chinese_chars": splits}))
    assert load_tokenizer(tmp_path).encode_plain(["中国"]) == [expected]
    assert BertTokenizer.from_pretrained(tmp_path)("中国", add_special_tokens=False)["input_ids"] == expected


def test_digest_tells_tokenizers_apart() -> None:
    digests = {
        from_vocabulary(VOCABULARY, is_cased=True).digest,
        from_vocabulary(VOCABULARY, is_cased=False).digest,
        from_vocabulary(VOCABULARY[:-1], is_cased=True).digest,
    }
    assert len(digests) == 3


def test_missing_special_tokens_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \[CLS\], \[MASK\]; "):
        from_vocabulary(["[PAD]", "[UNK]", "[SEP]", "a"], is_cased=False)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(DataError, match=r"vocab.txt: the vocabulary has no \[MASK\]"):
        load_tokenizer(tmp_path / "vocab.txt")
    state = json.loads(from_vocabulary(VOCABULARY, is_cased=False).to_json())
    state["added_tokens"] = []
    del state["model"]["vocab"]["[PAD]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"tokenizer.json: the vocabulary has no \[PAD\]"):
        load_tokenizer(tmp_path)


def test_folder_or_file_without_a_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer.json and no vocab.txt"):
        load_tokenizer(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer(tmp_path / "missing")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not a tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_corpus_text_never_becomes_a_special_token(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_plain(["a [MASK] [PAD][SEP] [CLS] z"])[0]
    assert not {tokenizer.mask_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.cls_id} & set(ids)
    assert tokenizer.mask_id in tokenizer.encode(["a [MASK]"], max_length=9)[0].input_ids


def test_chinese_characters_are_words_of_their_own(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a中文b"], max_length=9)[0].tokens == ["[CLS]", "a", "中", "文", "b", "[SEP]"]


def test_offsets_point_into_the_text_each_token_came_from() -> None:
    tokenizer = from_vocabulary(VOCABULARY, is_cased=False)
    one = tokenizer.encode(["The Mask"], ["then"], max_length=20)[0]
    assert one.tokens == ["[CLS]", "the", "mask", "[SEP]", "then", "[SEP]"]
    assert one.offsets == [(0, 0), (0, 3), (4, 8), (0, 0), (0, 4), (0, 0)]
    assert one.token_type_ids == [0, 0, 0, 0, 1, 1]
    assert one.num_cut == 0


def test_offsets_of_byte_level_words_are_without_the_space_before_them() -> None:
    tokenizer = byte_level(["the", "Ġdog", "Ġ", "ĠĠ"])
    one = tokenizer.encode(["the dog   ☕"], [" dog"], max_length=20)[0]
    assert one.tokens == ["[CLS]", "the", "Ġdog", "ĠĠ", "Ġ", "â", "ĺ", "ķ", "[SEP]", "Ġdog", "[SEP]"]
    assert one.offsets[1:4] == [(0, 3), (4, 7), (7, 9)]
    assert set(one.offsets[5:8]) == {(10, 11)}
    assert one.offsets[9] == (1, 4)


def test_offsets_of_word_pieces_are_those_of_the_library(tokenizer: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    for text in NASTY:
        found = tokenizer.encode([text], max_length=1000)[0].offsets[1:-1]
        assert found == backend.encode(text, add_special_tokens=False).offsets


def test_cut_tokens_are_counted(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a b c d e"], max_length=5)[0].num_cut == 2
    one = tokenizer.encode(["a b c d e"], ["f g"], max_length=8)[0]
    assert one.tokens == ["[CLS]", "a", "b", "c", "[SEP]", "f", "g", "[SEP]"]
    assert one.num_cut == 2


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_longest_first_fills_the_room_and_cuts_the_longer_text(length_a: int, length_b: int, room: int) -> None:
    kept_a, kept_b = longest_first(length_a, length_b, room)
    assert kept_a + kept_b == min(room, length_a + length_b)
    assert 0 <= kept_a <= length_a
    assert 0 <= kept_b <= length_b
    assert kept_a == length_a or kept_a >= kept_b - 1
    assert kept_b == length_b or kept_b >= kept_a - 1


def test_length_without_room_for_text_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="at least 3 for this input, got 2"):
        tokenizer.encode(["a"], max_length=2)
    with pytest.raises(ConfigError, match="at least 4 for this input, got 3"):
        tokenizer.encode(["a"], ["b"], max_length=3)


def test_ids_and_tokens_lead_back_to_the_text() -> None:
    tokenizer = from_vocabulary(VOCABULARY, is_cased=False)
    ids = tokenizer.encode(["then mask a"], max_length=9)[0].input_ids
    assert tokenizer.decode(ids) == "then mask a"
    assert tokenizer.token(tokenizer.mask_id) == "[MASK]"
    assert tokenizer.token_id("mask") == VOCABULARY.index("mask")
    assert tokenizer.token_id("nothing") is None
    with pytest.raises(KeyError):
        tokenizer.token(len(VOCABULARY))


def test_continuing_pieces_are_those_that_wordpiece_marks() -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "##", "##s"]
    assert from_vocabulary(tokens, is_cased=True).continuing_ids == (6, 8)
    other = tokenizers.Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    assert Tokenizer(other).continuing_ids is None


def test_new_special_tokens_come_behind_all_others_and_known_ones_keep_their_ids(tmp_path: Path) -> None:
    tokenizer = from_vocabulary([*SPECIAL_TOKENS, "a", "<extra_id_1>", "b"], is_cased=True)
    extended = tokenizer.with_special_tokens(["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"])
    assert extended.token_ids(["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]) == (8, 6, 9)
    assert (tokenizer.vocab_size, extended.vocab_size) == (8, 10)
    text = "a<extra_id_2> b <extra_id_1>"
    ids = extended.encode([text], max_length=20)[0].input_ids
    assert ids[1:-1] == [5, 9, 7, 6]
    assert extended.encode_plain(["a b"]) == tokenizer.encode_plain(["a b"])
    extended.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == load_tokenizer(tmp_path).encode([text], max_length=20)[0].input_ids == ids
    assert theirs.decode(ids, skip_special_tokens=True) == "a b"


def test_vocabulary_with_repeated_lines_keeps_every_id_in_use(tmp_path: Path) -> None:
    vocabulary = [*SPECIAL_TOKENS, "a", "[unused0]", "b", "a", "b", "c"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    assert tokenizer.encode_plain(["a b c"]) == [[8, 9, 10]]
    assert BertTokenizer.from_pretrained(tmp_path)("a b c", add_special_tokens=False)["input_ids"] == [8, 9, 10]
    assert [tokenizer.token(number) for number in (5, 6, 7)] == ["[unused1]", "[unused0]", "[unused2]"]
    extended = tokenizer.with_special_tokens(["<x>"])
    assert extended.token_id("<x>") == 11
    assert extended.encode_plain(["a b c"]) == [[8, 9, 10]]
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path / "vocab.txt").digest == tokenizer.digest


def test_tokenizer_whose_ids_have_gaps_takes_no_new_token_and_is_saved_with_its_ids(tmp_path: Path) -> None:
    state = json.loads(from_vocabulary([*SPECIAL_TOKENS, "a", "b", "c"], is_cased=True).to_json())
    del state["model"]["vocab"]["b"]
    tokenizer = Tokenizer.from_json(json.dumps(state))
    with pytest.raises(DataError, match=r"'<x>' can not be added, as not every id below 8 has a token"):
        tokenizer.with_special_tokens(["<x>"])
    assert tokenizer.with_special_tokens(["a"]).vocab_size == 8
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path / "vocab.txt", is_cased=True).encode_plain(["a c"]) == [[5, 7]]


def test_vocabulary_that_is_mostly_gaps_is_not_written_as_lines(tmp_path: Path) -> None:
    state = json.loads(from_vocabulary([*SPECIAL_TOKENS, "a"], is_cased=True).to_json())
    state["model"]["vocab"]["a"] = 4_000
    Tokenizer.from_json(json.dumps(state)).save(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()
    assert load_tokenizer(tmp_path).encode_plain(["a"]) == [[4_000]]
