"""Pages show what was measured, and nothing from data is taken as HTML."""

from pathlib import Path

from electrify.report.curves import draw_curves
from electrify.report.page import Page, Table, write_page
from electrify.verbs.corrupt import CorruptedToken

RECORDS = [
    {"step": 10, "kind": "train", "gen_loss": 6.0},
    {"step": 20, "kind": "train", "gen_loss": 5.5},
    {"step": 20, "kind": "validation", "gen_loss": 5.6, "disc_auc": None},
]


def test_text_from_data_is_escaped(tmp_path: Path) -> None:
    token = CorruptedToken("<i>was</i>", "<script>x</script>", is_replaced=True, probability=0.9)
    page = Page("A & B", "<b>", tables=[Table("t", ["<h>"], [["<td>"]])], texts=[[token]])
    write_page(page, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;x&lt;/script&gt;" in html
    assert "&lt;i&gt;was&lt;/i&gt;" in html
    assert "A &amp; B" in html
    assert "&lt;h&gt;" in html


def test_pieces_of_a_word_stand_together(tmp_path: Path) -> None:
    tokens = [CorruptedToken(text, text, is_replaced=False, probability=0.1) for text in ("pre", "##train", "it")]
    write_page(Page("t", "s", texts=[tokens]), tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "##" not in html
    assert 'pre</span><span class="token"' in html  # no space between
    assert 'train</span> <span class="token"' in html


def test_curves_leave_out_what_was_not_measured() -> None:
    drawn = draw_curves(RECORDS, ["gen_loss"], title="Loss", label="nats", caption="c")
    assert drawn.svg.startswith("<svg")
    assert "held out" in drawn.svg
    assert "training" in drawn.svg
    empty = draw_curves(RECORDS, ["disc_auc"], title="AUC", label="AUC", caption="c")
    assert "held out" not in empty.svg


def test_the_same_records_give_the_same_picture() -> None:
    first, second = (draw_curves(RECORDS, ["gen_loss"], title="t", label="l", caption="c").svg for _ in range(2))
    assert first == second
