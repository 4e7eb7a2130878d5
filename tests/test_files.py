import json
import os
import shutil
from pathlib import Path

import pytest
import xxhash

from electrify.errors import CheckpointError, DataError
from electrify.files import (
    digest_file,
    digest_text,
    new_folder,
    read_json,
    refuse_existing,
    refuse_existing_file,
    write_json,
    write_text,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "parent" / "result"
    with new_folder(target) as temporary:
        (temporary / "file.txt").write_text("new")
        assert not target.exists()
    assert (target / "file.txt").read_text() == "new"
    assert names(target.parent) == ["result"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_inside_leaves_the_old_folder_and_nothing_else(old: Path, error: type[BaseException]) -> None:
    def work() -> None:
        with new_folder(old) as temporary:
            (temporary / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        work()
    assert names(old.parent) == ["result"]
    assert (old / "old.txt").read_text() == "old"


def test_old_folder_is_replaced_whole(old: Path) -> None:
    with new_folder(old) as temporary:
        (temporary / "new.txt").write_text("new")
    assert names(old) == ["new.txt"]


def test_what_a_killed_attempt_left_does_not_reach_the_result(tmp_path: Path) -> None:
    leftover = tmp_path / "result.tmp"
    leftover.mkdir()
    (leftover / "half.txt").write_text("half")
    with new_folder(tmp_path / "result") as temporary:
        (temporary / "new.txt").write_text("new")
    assert names(tmp_path / "result") == ["new.txt"]
    assert names(tmp_path) == ["result"]


def test_link_to_a_folder_stays_and_what_it_leads_to_is_replaced(old: Path) -> None:
    link = old.parent / "link"
    link.symlink_to(old)
    with new_folder(link) as temporary:
        (temporary / "new.txt").write_text("new")
    assert link.is_symlink()
    assert names(old) == ["new.txt"]
    assert names(old.parent) == ["link", "result"]


def killed_while_replacing(target: Path, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Replace a folder in a process of its own that is killed after so many renames."""
    with monkeypatch.context() as patch:
        rename, remove, num_renames = Path.rename, shutil.rmtree, 0

        def rename_or_die(path: Path, other: Path) -> Path:
            nonlocal num_renames
            if num_renames == after:
                os._exit(9)
            num_renames += 1
            return rename(path, other)

        def remove_or_die(path: Path, **settings: bool) -> None:
            if num_renames == after > 0:
                os._exit(9)
            remove(path, **settings)

        patch.setattr(Path, "rename", rename_or_die)
        patch.setattr("shutil.rmtree", remove_or_die)
        child = os.fork()
        if not child:
            try:
                with new_folder(target) as temporary:
                    (temporary / "new.txt").write_text("new")
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize(("after", "expected"), [(0, ["old.txt"]), (1, ["old.txt"]), (2, ["new.txt"])])
@pytest.mark.filterwarnings("ignore:This process")  # forks while it has threads
def test_killed_replacement_keeps_one_version_whole(
    old: Path, after: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_replacing(old, monkeypatch, after=after)
    with pytest.raises(DataError, match="exists already"):
        refuse_existing(old, overwrite=False)
    assert names(old) == expected
    killed_while_replacing(old, monkeypatch, after=after)

    def fail() -> None:
        with new_folder(old):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert names(old) == expected
    assert names(old.parent) == ["result"]


def test_text_is_written_in_one_step_with_line_feeds(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\nb\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_name_that_is_not_utf8_is_read_back_from_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.txt")
    write_json(tmp_path / "a.json", {"name": name})
    assert "udcff" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert os.fsencode(read_json(tmp_path / "a.json")["name"]) == b"\xff.txt"


def test_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5_000  # more than one chunk
    (tmp_path / "a").write_bytes(content)
    assert digest_file(tmp_path / "a") == xxhash.xxh3_128(content).hexdigest()


def test_digest_of_a_text_is_that_of_a_file_with_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "grün")
    assert digest_text("grün") == digest_file(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[1]", "expected a JSON object, found list"),
    ],
)
@pytest.mark.parametrize("error", [DataError, CheckpointError])
def test_json_that_cannot_be_used_is_the_callers_error_and_names_the_file(
    tmp_path: Path, content: bytes | None, complaint: str, error: type[DataError | CheckpointError]
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=complaint) as caught:
        read_json(path, error=error)
    assert str(path) in str(caught.value)


def test_what_was_written_as_json_is_read_back(tmp_path: Path) -> None:
    value = {"text": "ü\u2028", "numbers": [1, 0.1, None], "nested": {"a": True}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_existing_output_is_refused(old: Path) -> None:
    with pytest.raises(DataError, match=r"result: exists already.*--overwrite"):
        refuse_existing(old, overwrite=False)
    with pytest.raises(DataError, match="exists already"):
        refuse_existing(old / "old.txt", overwrite=False)


def test_output_that_loses_nothing_is_allowed(old: Path) -> None:
    refuse_existing(old, overwrite=True)
    refuse_existing(old.parent / "other", overwrite=False)
    (old / "old.txt").unlink()
    refuse_existing(old, overwrite=False)  # an empty folder


def test_a_folder_that_holds_what_is_read_is_not_replaced(old: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(old)
    for one in (old, old / "old.txt", tmp_path / "link/old.txt"):
        with pytest.raises(DataError, match="is read, lies in it"):
            refuse_existing(old, overwrite=True, inputs=[None, tmp_path / "elsewhere", one])
    with pytest.raises(DataError, match="is read, lies in it"):
        refuse_existing(tmp_path / "link", overwrite=True, inputs=[old / "old.txt"], is_filled_in_place=True)
    refuse_existing(old, overwrite=True, inputs=[old.parent / "beside", old.parent, f"{old}er/file"])


def test_file_in_the_place_of_a_folder_is_refused_even_with_overwrite(old: Path) -> None:
    with pytest.raises(DataError, match=r"old.txt: a file"):
        refuse_existing(old / "old.txt", overwrite=True)


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_folder_around_the_working_directory_is_not_replaced(
    old: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old)
    with pytest.raises(DataError, match="working directory"):
        refuse_existing(Path(name), overwrite=True)
    refuse_existing(Path("."), overwrite=True, is_filled_in_place=True)


def test_file_that_would_replace_something_is_refused(old: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        refuse_existing_file(old / "old.txt", overwrite=False)
    with pytest.raises(DataError, match=r"result: a folder"):
        refuse_existing_file(old, overwrite=True)
    refuse_existing_file(old / "old.txt", overwrite=True)
    refuse_existing_file(old / "new.txt", overwrite=False)
