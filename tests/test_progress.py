import pytest

from electrify import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the bar sees; set the only entry to move on."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def _enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_is_enabled", False)  # put back after the test
    progress.enable()


def work(clock: list[float], *, steps: int, seconds: float, total: float | None) -> None:
    with progress.bar("Reading", total=total) as bar:
        for _ in range(steps):
            clock[0] += seconds
            bar.advance(1, documents=5)


def test_nothing_is_shown_unless_asked_for(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    work(clock, steps=20, seconds=10, total=20)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_enabled")
def test_nothing_is_shown_for_short_work(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    work(clock, steps=4, seconds=0.4, total=4)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_enabled")
def test_a_log_file_gets_share_rate_and_time_left_every_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work(clock, steps=2, seconds=11, total=4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Reading   25%  0.4545 documents/s  33 s left",
        "Reading   50%  0.4545 documents/s  22 s left",
        "Reading   50%  0.4545 documents/s  done in 22 s",
    ]


@pytest.mark.usefixtures("_enabled")
def test_a_log_file_gets_no_line_more_often(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    work(clock, steps=100, seconds=0.25, total=100)
    assert len(capsys.readouterr().err.splitlines()) == 4  # at 2, 12 and 22 of 25 seconds, and at the end


@pytest.mark.usefixtures("_enabled")
def test_work_of_unknown_size_shows_no_share_and_no_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work(clock, steps=1, seconds=10, total=None)
    assert capsys.readouterr().err.splitlines() == [
        "Reading  0.5 documents/s",
        "Reading  0.5 documents/s  done in 10 s",
    ]


@pytest.mark.usefixtures("_enabled")
def test_a_terminal_gets_one_line_that_is_written_over(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    work(clock, steps=8, seconds=1, total=8)
    shown = capsys.readouterr().err
    assert shown.count("\r") == 7  # after 3 to 8 seconds, and at the end
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0 s"), (59.9, "59 s"), (60, "1:00"), (187, "3:07"), (7509, "2:05:09")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert progress.format_seconds(seconds) == text
