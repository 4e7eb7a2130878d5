"""Settings of `prepare`: what it repairs and leaves out, and where it works."""

from typing import Annotated, Literal

from pydantic import Field

from electrify.config.section import Positive, Section, Share


class CleaningConfig(Section):
    """What `prepare` repairs and leaves out. By default nothing; all that is left out is counted by reason."""

    repair: bool = False
    """Repair wrongly decoded text (mojibake), HTML entities and control characters with ftfy, before anything else."""
    min_letters: Annotated[int, Field(ge=0)] = 0
    """Shortest document in letters."""
    max_letters: Positive | None = None
    """Longest document in letters; no limit if not given."""
    min_compressed_share: Share = 0.0
    """Lowest compressed size as a share of the bytes; below is repetitive. Only documents of 256 bytes or more."""
    max_compressed_share: Share = 1.0
    """Highest compressed size as a share of the bytes; above are random letters and encoded data."""
    max_symbol_share: Share = 1.0
    """Highest share of letters that are neither alphanumeric nor white space."""
    max_repeated_line_share: Share = 1.0
    """Highest share of letters in lines that came before in the document."""
    max_repeated_ngram_share: Share = 1.0
    """Highest share of words in sequences of five words that came before in the document."""
    languages: tuple[str, ...] = ()
    """Languages that are kept, as two-letter codes ("en"), told by py3langid; all if not given."""
    duplicates: Literal["keep", "exact", "near"] = "keep"
    """Leave out all but the first of equal documents, or also of near-duplicates (MinHash of five-word sequences)."""


class ExecutorConfig(Section):
    """Where `prepare` works. The folder that comes out has the same bytes everywhere."""

    kind: Literal["local", "slurm", "ray"] = "local"
    """This machine, or datatrove's executor for a Slurm or a Ray cluster."""
    tasks: Positive | None = None
    """slurm, ray, near-duplicates: tasks into which the files are dealt; one for each file if not given."""
    workers: Positive | None = None
    """slurm, ray: tasks that run at the same time; all if not given."""
    partition: str = "main"
    """slurm: partition."""
    time_limit: str = "24:00:00"
    """slurm: time limit of a task."""
    memory_gb: Positive = 2
    """slurm, ray: memory of a task in GB."""
