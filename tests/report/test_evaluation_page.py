from pathlib import Path

import pytest
from support.tasks import write_task

from electrify.config import FinetuneConfig
from electrify.report.charts import draw_calibration, draw_confusion
from electrify.report.evaluation_page import write_evaluation_page
from electrify.tasks.calibration import Bin, Calibration
from electrify.verbs.evaluate import evaluate
from electrify.verbs.finetune import finetune


@pytest.mark.parametrize("kind", ["classification", "tagging", "regression"])
def test_page_shows_scores_seeds_classes_and_errors(kind: str, electra_run: Path, tmp_path: Path) -> None:
    path = write_task(kind, tmp_path / "a.jsonl", num_examples=24)
    config = FinetuneConfig(max_length=16, num_epochs=1, precision="fp32")
    finetune(
        electra_run / "discriminator", task=kind, train=path, validation=path, output=tmp_path / "out", seeds=(0, 1),
        config=config,
    )  # fmt: skip
    result = evaluate(tmp_path / "out", path, baseline=tmp_path / "out", num_draws=20)
    write_evaluation_page(tmp_path / "out", path, result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h2>Seeds</h2>" in page
    assert "Against the baseline" in page
    assert ("Worst errors" in page) == bool(result.mistakes)
    assert ("Confusion" in page) == (kind == "classification")
    assert ("Classes" in page) == (kind != "regression")
    assert ("Calibration" in page) == (kind == "classification")
    for name in result.metrics:
        assert name in page


def test_labels_are_no_mathematics() -> None:
    names = ["under $10_to_$20", "$x^$", "$\\foo$"]
    picture = draw_confusion({right: dict.fromkeys(names, 1) for right in names})
    assert picture is not None
    assert all(name in picture.svg for name in names)


def test_text_of_a_mistake_is_escaped(electra_run: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from electrify.tasks.errors import Mistake

    path = write_task("classification", tmp_path / "a.jsonl", num_examples=12)
    config = FinetuneConfig(max_length=16, num_epochs=1, precision="fp32")
    finetune(
        electra_run / "discriminator", train=path, validation=path, output=tmp_path / "out", seeds=(0,), config=config
    )
    result = replace(
        evaluate(tmp_path / "out", path, num_draws=5), mistakes=[Mistake("a:1", "<script>x</script>", "<b>", "c", 1.0)]
    )
    write_evaluation_page(tmp_path / "out", path, result, tmp_path / "page.html")
    assert "<script>" not in (tmp_path / "page.html").read_text()


def test_pictures_are_vector_drawings_with_the_counts() -> None:
    drawn = draw_confusion({"a": {"a": 417, "b": 2}, "b": {"a": 3, "b": 5}})
    assert drawn is not None
    assert drawn.svg.startswith("<svg")
    assert "417" in drawn.svg
    assert draw_confusion({str(n): {str(m): 1 for m in range(60)} for n in range(60)}) is None
    assert "0.125" in draw_calibration(Calibration(0.125, [Bin(0.5, 0.4, 7)])).caption
