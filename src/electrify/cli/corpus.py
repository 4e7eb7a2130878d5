"""Commands from text to shards: `tokenizer`, `prepare`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from electrify.cli.app import Json, Overwrite, Source, app, check_report, show, table
from electrify.config import CleaningConfig, ExecutorConfig


@app.command
def tokenizer(
    corpus: tuple[Path, ...] = (),
    /,
    *,
    output: Path,
    vocab_size: int = 30_522,
    cased: Annotated[bool, Parameter(negative=())] = False,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    source: Source | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a WordPiece tokenizer from text, or take over a published one.

    Args:
        corpus: Files, folders or globs: .txt, .jsonl, .csv, .tsv, .parquet, plain or .gz, .zst, .bz2. None with --from.
        output: Folder for tokenizer.json, tokenizer_config.json and vocab.txt.
        vocab_size: Number of tokens, special ones included.
        cased: Keep capital letters and accents.
        from_: Take this published folder or vocab.txt instead of making a new one.
        source: How documents are found.
    """
    from electrify.verbs.tokenizer import build_tokenizer

    report = build_tokenizer(
        corpus,
        output=output,
        vocab_size=vocab_size,
        is_cased=cased,
        from_=from_,
        source_options=source,
        overwrite=overwrite,
    )
    show(report, as_json=json, lines=table(f"Tokenizer in {output}", asdict(report)))


@app.command
def prepare(
    corpus: list[Path],
    /,
    *,
    tokenizer: Path,
    output: Path,
    max_length: int = 128,
    pack: Literal["dense", "pieces", "segments"] = "dense",
    validation_share: float = 0.01,
    validation: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())] = None,
    processes: int | None = None,
    report: Path | None = None,
    source: Source | None = None,
    clean: Annotated[CleaningConfig | None, Parameter(name="clean")] = None,
    executor: Annotated[ExecutorConfig | None, Parameter(name="executor")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn text into shards of token rows for pre-training.

    Args:
        corpus: Files, folders or globs, as for `electrify tokenizer`.
        tokenizer: Folder of the tokenizer.
        output: Folder for the shards.
        max_length: Longest row in tokens, special ones included.
        pack: "dense" fills rows over document borders, "pieces" keeps a row within one, "segments" makes A/B pairs.
        validation_share: Share of documents held out, chosen by a hash of their text.
        validation: Files that are held out instead.
        processes: Processes that tokenise; one for each processor by default. The output does not depend on it.
        report: HTML file for what was kept and what was left out, with examples and pictures.
        source: How documents are found.
        clean: What is repaired and left out.
        executor: Where to work.
    """
    check_report(report)
    from electrify.verbs.prepare import prepare as run

    if report and not clean:
        clean = CleaningConfig()  # counts are kept
    result = run(
        corpus,
        tokenizer=tokenizer,
        output=output,
        max_length=max_length,
        pack=pack,
        validation_share=validation_share,
        validation=validation,
        processes=processes,
        source_options=source,
        cleaning=clean,
        executor=executor,
        overwrite=overwrite,
    )
    if report:
        from electrify.report.corpus import write_corpus_page

        write_corpus_page(result, report)
    show(result, as_json=json, lines=table(f"Shards in {output}", asdict(result)))
