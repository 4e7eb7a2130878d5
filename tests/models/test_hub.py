import huggingface_hub
import pytest

from electrify.errors import CheckpointError
from electrify.models.hub import resolve_folder


def test_folder_is_taken_as_it_is(tmp_path):
    assert resolve_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["nowhere", "../other/model", "/no/such", "a/b/c", "./owner/name", "owner/..", ""])
def test_what_is_neither_folder_nor_hub_id_is_refused_without_asking_the_hub(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(CheckpointError, match="no such folder"):
        resolve_folder(name)


def test_hub_is_asked_for_nothing_that_can_run_code(monkeypatch, tmp_path):
    asked = {}

    def fake(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    assert resolve_folder("owner/name") == tmp_path
    assert asked == {"name": "owner/name", "allow_patterns": ["*.json", "*.txt", "*.safetensors"]}


def test_failure_of_the_hub_is_one_line_with_the_name(monkeypatch):
    def fail(*_, **__):
        raise OSError("offline\nlong story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"^owner/name: .*: offline$"):
        resolve_folder("owner/name")
