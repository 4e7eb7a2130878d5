"""What `prepare` kept of a corpus and what it left out, as one page: counts by reason, examples, distributions."""

from collections.abc import Mapping
from pathlib import Path

from electrify.data.cleaning import NUM_BINS, CleaningCounts
from electrify.files import read_json
from electrify.report.bars import draw_bars
from electrify.report.drawing import Picture
from electrify.report.page import Page, Table, write_page
from electrify.verbs.prepare import PrepareReport


def write_corpus_page(report: PrepareReport, path: Path) -> None:
    """Write the page of a folder that was just prepared.

    Args:
        report: What `prepare` returned.
        path: The HTML file to write.

    Raises:
        DataError: If the folder has no counts: cleaning was not asked for.
        ElectrifyError: If jinja2 or matplotlib is not installed.
    """
    counts = CleaningCounts.from_json(read_json(report.output / "cleaning.json"))
    page = Page(
        title=f"Corpus in {report.output.name}",
        subtitle=f"{report.num_files:,} files, {report.num_bytes / 1e6:,.1f} MB of text, {report.seconds:,.0f} s",
        tables=[_kept(report, counts), _removed(counts), _unusable(report), _examples(counts)],
        pictures=_pictures(counts),
    )
    write_page(page, path)


def _kept(report: PrepareReport, counts: CleaningCounts) -> Table:
    total = counts.num_kept + counts.removed.total()
    rows = [
        ["documents read", f"{total:,}"],
        ["documents kept", f"{counts.num_kept:,} ({counts.num_kept / max(1, total):.1%})"],
        ["documents repaired", f"{counts.num_repaired:,}"],
        ["documents left out", f"{counts.removed.total():,}"],
        ["tokens to train on", f"{report.num_train_tokens:,}"],
        ["tokens held out", f"{report.num_validation_tokens:,}"],
    ]
    return Table("What was kept", ["", ""], rows)


def _removed(counts: CleaningCounts) -> Table:
    total = counts.num_kept + counts.removed.total()
    rows = [[reason, f"{count:,}", f"{count / total:.2%}"] for reason, count in counts.removed.most_common()]
    note = "A document counts for the first reason that applies. Of equal or nearly equal ones the first is kept."
    return Table("What was left out, and why", ["reason", "documents", "share"], rows, note if rows else "Nothing.")


def _unusable(report: PrepareReport) -> Table:
    rows = [[kind, f"{count:,}"] for kind, count in report.num_rejected.items()]
    return Table(
        "Records that could not be read", ["what is wrong", "records"], rows, report.rejected_places or "None."
    )


def _examples(counts: CleaningCounts) -> Table:
    rows = [
        [reason, example["place"], example["begins"]]
        for reason, examples in counts.examples.items()
        for example in examples
    ]
    note = "The beginnings of the first few of each; duplicates as the tokenizer spells them."
    return Table("Examples of what was left out", ["reason", "file and row", "begins with"], rows, note)


def _pictures(counts: CleaningCounts) -> list[Picture]:
    pictures = [
        draw_bars(
            _both(counts.lengths),
            lambda bits: f"{1 << max(0, bits - 1):,}",
            title="Length of documents",
            label="letters, at least",
            caption="Each bar holds the documents of up to twice the letters below it.",
        )
    ]
    if any(counts.compression.values()):
        pictures.append(
            draw_bars(
                _both(counts.compression),
                lambda at: f"{at / NUM_BINS:.0%}",
                title="Compressed size of documents",
                label="share of their bytes, at least",
                caption="Prose has 40 to 60 %; repetitive text has less, random letters have more.",
            )
        )
    return pictures


def _both(counts: Mapping[str, Mapping[int, int]]) -> dict[str, Mapping[int, int]]:
    return {"kept": counts["kept"], "left out": counts["removed"]}
