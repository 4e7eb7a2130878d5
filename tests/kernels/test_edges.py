"""Where the compiled kernels must not be trusted with what they are given: types, ids, derivatives, files, threads."""

import sysconfig
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from electrify import kernels
from electrify.kernels import attention, dropout, library
from electrify.kernels.unpadded import leave_out
from electrify.models.blocks import linear, linear_gelu
from electrify.models.electra import ElectraConfig, ElectraModel
from electrify.models.inputs import Inputs
from electrify.models.modernbert import ModernBertConfig, ModernBertModel
from electrify.noise import row_keys
from electrify.objectives.vocabulary import predict_tokens
from electrify.objectives.vocabulary_pass import Pass

native = pytest.mark.skipif(not kernels.is_enabled(), reason="no compiler at installation, or no AVX-512 bfloat16")
SIZES = {"vocab_size": 60, "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "pad_token_id": 0}
BFLOAT16 = torch.autocast("cpu", torch.bfloat16)


def electra() -> ElectraModel:
    torch.manual_seed(0)
    config = ElectraConfig(**SIZES, embedding_size=64, intermediate_size=96, max_position_embeddings=150)
    return ElectraModel(config)


def modernbert() -> ModernBertModel:
    torch.manual_seed(0)
    return ModernBertModel(ModernBertConfig(**SIZES, intermediate_size=96, local_attention=8))


def rows(*lengths: int) -> Inputs:
    is_real = torch.arange(max(lengths) + 1) < torch.tensor(lengths)[:, None]
    torch.manual_seed(1)
    return Inputs(torch.randint(1, 60, is_real.shape), attention_mask=is_real)


@native
@pytest.mark.parametrize("build", [electra, modernbert])
def test_networks_of_other_types_go_the_plain_way(build: Callable[[], nn.Module]) -> None:
    body, inputs = build().double(), rows(30, 17)
    with torch.no_grad(), BFLOAT16:
        found = body(inputs)
        with kernels.disabled():
            expected = body(inputs)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@native
@pytest.mark.parametrize("target", [60, 4_000_000_000, -100])
def test_a_target_outside_of_the_vocabulary_is_an_error(target: int) -> None:
    vectors, table, bias = torch.randn(3, 16), torch.randn(60, 16), torch.zeros(60)
    with BFLOAT16, pytest.raises(IndexError, match=r"target ids must be in \[0, 60\)"):
        predict_tokens(vectors, table, bias, torch.tensor([1, target, 2]), row_keys(0, 0, torch.arange(3)))


@pytest.mark.parametrize("way", [kernels.disabled, lambda: BFLOAT16], ids=["plain", "native"])
def test_figures_alone_cost_no_gradients(way: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    given = torch.randn(3, 16), nn.Parameter(torch.randn(60, 16)), nn.Parameter(torch.zeros(60))
    calls: list[slice] = []
    monkeypatch.setattr(Pass, "add_gradients", lambda _, block, gradient: calls.append(block))
    with way(), torch.no_grad():
        predict_tokens(*given, torch.tensor([1, 5, 2]), row_keys(0, 0, torch.arange(3)))
    assert not calls
    with way():
        predict_tokens(*given, torch.tensor([1, 5, 2]), row_keys(0, 0, torch.arange(3)))
    assert calls


@native
def test_second_derivatives_are_refused_and_not_wrong() -> None:
    body = electra()
    inputs = replace(rows(20, 9), dropout_keys=row_keys(0, 0, torch.arange(2)))

    def penalty() -> Tensor:
        loss = body(inputs).float().square().mean()
        gradient = torch.autograd.grad(loss, body.word_embeddings.weight, create_graph=True)[0]
        return gradient.square().sum()

    for way in (torch.autocast("cpu", enabled=False), BFLOAT16):  # dropout is compiled in float32 too
        with way:
            with pytest.raises(NotImplementedError, match="no second derivatives"):
                penalty()
            with kernels.disabled():
                torch.autograd.grad(penalty(), body.word_embeddings.weight)


@native
def test_a_row_that_is_not_a_number_stays_alone() -> None:
    body, inputs = modernbert(), rows(33, 40, 20)
    with torch.no_grad():
        body.word_embeddings.weight[59] = torch.inf
        inputs.input_ids[inputs.input_ids == 59] = 58
        inputs.input_ids[0, 5] = 59
        with BFLOAT16:
            hidden = body(inputs)
    assert leave_out(inputs.attention_mask) is not None
    is_bad = [bool(hidden[row, :length].isnan().any()) for row, length in enumerate((33, 40, 20))]
    assert is_bad == [True, False, False]


@native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8])
def test_a_mask_may_be_of_any_type(dtype: torch.dtype) -> None:
    body, inputs = electra(), rows(30, 17)
    with torch.no_grad(), BFLOAT16:
        expected = body(inputs)
        found = body(replace(inputs, attention_mask=inputs.attention_mask.to(dtype)))
    assert torch.equal(found, expected)


@native
def test_keys_may_be_of_another_type_and_part_of_others() -> None:
    keys = torch.arange(8)
    x, joint = torch.ones(4, 5, 64), torch.randn(4, 5, 192)
    for other in (torch.arange(16)[::2][:4], keys[:4].int()):
        same = other.long().contiguous()
        settings = {"drop_prob": 0.5, "site": 1}
        assert torch.equal(dropout.dropout(x, other, **settings), dropout.dropout(x, same, **settings))
        ours, theirs = (attention.attend(joint, num_heads=2, keys=one, **settings) for one in (other, same))
        assert torch.equal(ours, theirs)


@native
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # read, and caught, inside the compiler
@pytest.mark.parametrize("build", [electra, modernbert])
def test_layers_that_torch_compiles_are_left_to_it(build: Callable[[], nn.Module]) -> None:
    body, inputs = build(), replace(rows(30, 17), dropout_keys=row_keys(0, 0, torch.arange(2)))
    with torch.no_grad(), BFLOAT16:
        with kernels.disabled():
            expected = body(inputs)
        torch.compiler.reset()
        for layer in body.blocks:
            layer.compile(backend="eager", fullgraph=True, dynamic=False)
        found = body(inputs)
    is_real = inputs.attention_mask
    torch.testing.assert_close(found[is_real], expected[is_real], rtol=0, atol=0.02 * float(expected.abs().max()))


@native
def test_what_takes_the_place_of_a_product_is_called() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    x, heard = torch.randn(2, 5, 64), []
    for function, has_bias in ((linear, False), (linear_gelu, True)):
        listened = nn.Linear(64, 64, bias=has_bias)
        listened.register_forward_hook(lambda *_: heard.append(1))
        with torch.no_grad(), BFLOAT16:
            function(x, listened)
            adapted = Doubled(64, 64, bias=has_bias)
            found = function(x, adapted)
            with kernels.disabled():
                assert torch.equal(found, function(x, adapted))
    assert len(heard) == 2


@native
def test_the_plain_way_is_one_threads_own() -> None:
    inside, done = threading.Event(), threading.Event()

    def stay() -> None:
        with kernels.disabled():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(10)
    assert kernels.is_enabled()
    with kernels.disabled():
        done.set()
        thread.join()
        assert not kernels.is_enabled()
    assert kernels.is_enabled()


@native
def test_a_library_that_can_not_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    find = library.load_library.__wrapped__
    assert find() is None, "there is none"
    (tmp_path / "_native.of-another-python.so").write_bytes(b"")
    assert find() is None
    assert not caplog.messages
    (tmp_path / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"\x7fELF")
    assert find() is None
    assert "can not be loaded and are left out" in caplog.text


def test_of_several_openmp_runtimes_torchs_own_is_taken() -> None:
    head = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 1234      "
    own = f"{Path(torch.__file__).parent}/lib/libgomp.so.1"
    other = "/a folder/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0"
    lines = [f"{head}{other}\n", f"{head}[heap]\n", "7f0000000000-7f0000001000 r-xp 00000000 00:00 0\n"]
    assert library.find_openmp(lines) == other, "spaces belong to the path"
    assert library.find_openmp([*lines, f"{head}{own}\n"]) == own
    assert library.find_openmp(lines[1:]) is None
