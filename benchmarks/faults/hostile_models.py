"""Model folders that were made to do harm."""

import copy
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile_case import DEEP, HUGE, Bomb, Case, Make, proof_of, text
from safetensors.torch import load_file, save_file

BAD_SIZES = (-1, 0, 1 << 40, HUGE, 2.5, float("nan"), float("inf"), "16", None, True, [16], {"a": 16})
BAD_RATES = (-1.0, HUGE, float("nan"), float("inf"), "0.1", [0.1])


def model_cases() -> list[Case]:
    """Return cases that open a model folder, each with a name of its own."""
    return [*_pickles(), *_names(), *_sizes(), *_values(), *_structure(), *_code(), *_links()]


def _pickles() -> Iterator[Case]:
    kind = "pickle"
    for name in ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "model.safetensors"):
        yield Case(kind, f"{name} in place of the weights", "electra", bomb(name))
    yield Case(kind, "torch archive called model.safetensors", "electra", bomb("model.safetensors", zipped=True))
    yield Case(kind, "torch archive called pytorch_model.bin", "electra", bomb("pytorch_model.bin", zipped=True))
    for name in ("config.json", "tokenizer.json"):
        yield Case(kind, f"{name} is a pickle", "electra", bomb(name, instead_of_weights=False))
    yield Case(kind, "index is a pickle", "electra", bomb("model.safetensors.index.json"))
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt"):
        yield Case(kind, f"{name} beside", "electra", bomb(name, instead_of_weights=False), opens=True)


def _names() -> Iterator[Case]:
    bad: list[Any] = ["../outside.safetensors", "/etc/passwd", "a/../../outside.safetensors", "..", "", 3, None]
    bad += ["..\\outside.safetensors", "file:///outside.safetensors", ["a.safetensors"]]
    bad += ["a\0.safetensors", "x" * 5000 + ".safetensors"]
    for name in bad:
        yield Case("path in an index", f"shard {str(name)[:40]!r}", "electra", shards(name))


def _sizes() -> Iterator[Case]:
    kind = "tensor sizes"
    for shape in ([1 << 40, 1 << 20], [1 << 63, 2], [-1], [0], [2.5], ["1"], [1] * 10_000, None):
        yield Case(kind, f"shape {str(shape)[:40]}", "electra", header(first_tensor(shape=shape)))
    for place in ([0, 1 << 62], [1 << 62, 1 << 63], [4, 0], [-4, 0], [0], None):
        yield Case(kind, f"offsets {place}", "electra", header(first_tensor(data_offsets=place)))
    for dtype in ("F4096", "I64", "F8_E4M3", None):
        yield Case(kind, f"type {dtype}", "electra", header(first_tensor(dtype=dtype)))
    yield Case(kind, "all tensors in one place", "electra", header(_all_in_one_place))
    yield Case(kind, "header longer than the file", "electra", header(b"{}", num_bytes=1 << 62))
    yield Case(kind, "header of 0 bytes", "electra", header(b"{}", num_bytes=0))
    yield Case(kind, "header of 40 MB", "electra", header(b"{" + b" " * 40_000_000 + b"}"))
    yield Case(kind, "header of a million empty tensors", "electra", header(_million))
    yield Case(kind, "nested header", "electra", header(DEEP.encode()))
    yield Case(kind, "1 TB of nothing behind", "electra", sparse("model.safetensors", 1 << 40))
    yield Case(kind, "values that are not numbers", "electra", _not_a_number)


def _values() -> Iterator[Case]:
    kind = "config values"
    sizes = {
        "electra": ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
        "modernbert": ("vocab_size", "intermediate_size", "max_position_embeddings", "local_attention"),
    }
    rates = {
        "electra": ("layer_norm_eps", "initializer_range", "hidden_dropout_prob"),
        "modernbert": ("norm_eps", "global_rope_theta", "mlp_dropout"),
    }
    for body in sizes:
        for names, values in ((sizes[body], BAD_SIZES), (rates[body], BAD_RATES)):
            for name in names:
                for value in values:
                    change = {"rope_parameters": None, name: value} if "theta" in name else {name: value}
                    yield Case(kind, f"{body}, {name} = {str(value)[:20]}", body, config(**change))


def _structure() -> Iterator[Case]:
    kind = "config structure"
    yield Case(kind, "100,000 nested lists", "electra", text("config.json", f'{{"a": {DEEP}}}'))
    yield Case(kind, "100,000 nested objects", "electra", text("config.json", '{"a":' * 100_000 + "1" + "}" * 100_000))
    yield Case(kind, "number of 100,000 digits", "electra", text("config.json", f'{{"vocab_size": {"9" * 100_000}}}'))
    yield Case(kind, "1 TB", "electra", sparse("config.json", 1 << 40))
    yield Case(kind, "tokenizer of 1 TB", "electra", sparse("tokenizer.json", 1 << 40))
    yield Case(kind, "nested tokenizer", "electra", text("tokenizer.json", DEEP))
    for content in ("", "null", "[]", '"electra"', "{", "\0" * 100, b"\xff\xfe"):
        yield Case(kind, f"config.json is {content!r:.30}", "electra", text("config.json", content))
    for name in (None, [], {}, "Electra" * 1_000_000, ["ElectraModel", "ElectraModel"], [["ElectraModel"]], [3]):
        yield Case(kind, f"architectures = {str(name)[:30]}", "electra", config(architectures=name))
    for value in (None, 3, ["electra"], "electra" * 1_000_000, "bert\n\x1b[2J"):
        yield Case(kind, f"model_type = {str(value)[:20]!r}", "electra", config(model_type=value))
    for value in (["full_attention"] * 200_000, ["evil", "evil"], [["full_attention"]] * 2, "full", {"0": "full"}):
        yield Case(kind, f"layer_types = {str(value)[:30]}", "modernbert", config(layer_types=value))
    yield Case(kind, "rope_parameters = 3", "modernbert", config(rope_parameters=3))
    for value in ([], {"rope_type": "evil"}, {"rope_theta": HUGE}, {"rope_theta": "10"}):
        change = config(rope_parameters={"full_attention": value})
        yield Case(kind, f"rope_parameters of a kind = {str(value)[:30]}", "modernbert", change)


def _code() -> Iterator[Case]:
    kind = "code of its own"
    maps = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoModelForMaskedLM": "evil.Evil"}
    yield Case(kind, "auto_map with a module beside", "electra", _module_beside(config(auto_map=maps)))
    yield Case(kind, "auto_map to another repository", "electra", config(auto_map={"AutoModel": "who/what--evil.Evil"}))
    yield Case(kind, "custom_pipelines", "electra", config(custom_pipelines={"fill": {"impl": "evil.Evil"}}))
    yield Case(kind, "trust_remote_code", "electra", config(trust_remote_code=True))
    yield Case(kind, "architecture of a module", "electra", _module_beside(config(architectures=["evil.Evil"])))
    yield Case(kind, "model_type of a module", "electra", _module_beside(config(model_type="evil")))


def _links() -> Iterator[Case]:
    kind = "links and pipes"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        yield Case(kind, f"{name} leads out", "electra", link(name))
        yield Case(kind, f"{name} leads to itself", "electra", link(name, name))
        yield Case(kind, f"{name} leads to /dev/zero", "electra", link(name, "/dev/zero"))
        yield Case(kind, f"{name} is a pipe", "electra", pipe(name))
        yield Case(kind, f"{name} is a folder", "electra", directory(name))
    yield Case(kind, "config.json leads to /etc/passwd", "electra", link("config.json", "/etc/passwd"))
    yield Case(kind, "shard leads out", "electra", shards("1.safetensors", as_link=True))


def bomb(name: str, *, instead_of_weights: bool = True, zipped: bool = False) -> Make:
    def make(folder: Path) -> None:
        if instead_of_weights:
            (folder / "model.safetensors").unlink()
        if zipped:
            with zipfile.ZipFile(folder / name, "w") as archive:
                archive.writestr("archive/data.pkl", pickle.dumps(Bomb(folder)))
        else:
            (folder / name).write_bytes(pickle.dumps(Bomb(folder)))

    return make


def config(**changes: Any) -> Make:
    """Change `config.json`; NaN and infinity are written as Python's JSON does."""

    def make(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return make


def sparse(name: str, num_bytes: int) -> Make:
    """A file that says it is huge and takes no room."""

    def make(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(num_bytes)

    return make


def link(name: str, target: str | None = None) -> Make:
    """Move a file out of the folder, or name another target, and leave a link."""

    def make(folder: Path) -> None:
        outside = folder.with_name(folder.name + ".outside")
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside if target is None else target)

    return make


def pipe(name: str) -> Make:
    """A file that nobody ever writes to: reading it would wait for ever."""

    def make(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def directory(name: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return make


def header(change: Callable[[dict[str, Any]], Any] | bytes, *, num_bytes: int | None = None) -> Make:
    """Change the header of `model.safetensors`, its data left as it is."""

    def make(folder: Path) -> None:
        path = folder / "model.safetensors"
        content = path.read_bytes()
        end = 8 + struct.unpack("<Q", content[:8])[0]
        if isinstance(change, bytes):
            written = change
        else:
            entries = json.loads(content[8:end])
            written = json.dumps(change(entries) or entries).encode()
        length = struct.pack("<Q", len(written) if num_bytes is None else num_bytes)
        path.write_bytes(length + written + content[end:])

    return make


def first_tensor(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(entries: dict[str, Any]) -> None:
        entries[next(name for name in entries if name != "__metadata__")].update(changes)

    return change


def shards(file_name: Any, *, as_link: bool = False) -> Make:
    """Replace the weights by an index that says all tensors are in one file."""

    def make(folder: Path) -> None:
        outside = folder.parent / "outside.safetensors"
        names = list(load_file(folder / "model.safetensors"))
        shutil.move(folder / "model.safetensors", outside)
        if as_link:
            (folder / file_name).symlink_to(outside)
        index = {"weight_map": dict.fromkeys(names, file_name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return make


def _all_in_one_place(entries: dict[str, Any]) -> None:
    named = [entry for name, entry in entries.items() if name != "__metadata__"]
    for entry in named:
        entry |= {key: copy.copy(named[0][key]) for key in ("shape", "data_offsets")}


def _million(entries: dict[str, Any]) -> None:
    entries |= {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(1_000_000)}


def _not_a_number(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    next(iter(found.values())).view(-1)[0] = float("nan")
    save_file(found, folder / "model.safetensors")


def _module_beside(make: Make) -> Make:
    def with_module(folder: Path) -> None:
        (folder / "evil.py").write_text(f"import os\nos.mkdir({str(proof_of(folder))!r})\nclass Evil: pass\n")
        make(folder)

    return with_module
