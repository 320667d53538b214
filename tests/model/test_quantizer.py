"""The quantiser family: nearest codes, gradients, averages, resets, and every combination of its switches."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mbc_cli.model.config import RvqConfig, UnquantizedConfig, VqConfig
from mbc_cli.model.kmeans import assign, kmeans
from mbc_cli.model.quantizer import PassThrough, VectorQuantizer, build_quantizer

BATCH, SLOTS, WIDTH, CODES = 6, 5, 7, 11


def quantizer(**settings: object) -> VectorQuantizer:
    torch.manual_seed(0)
    kind = RvqConfig if settings.get("kind") == "rvq" else VqConfig
    result = build_quantizer(kind.model_validate({"codebook_size": CODES} | settings), SLOTS, WIDTH)
    assert isinstance(result, VectorQuantizer)
    with torch.no_grad():
        result.codebooks.copy_(torch.randn_like(result.codebooks))
    return result


def vectors(seed: int = 1, batch: int = BATCH) -> torch.Tensor:
    return torch.randn(batch, SLOTS, WIDTH, generator=torch.Generator().manual_seed(seed))


VARIANTS = [
    {**kind, "codebook": codebook, "update": update}
    for kind in ({"kind": "vq"}, {"kind": "rvq", "num_quantizers": 3})
    for codebook in ("shared", "per-slot")
    for update in ("gradient", "ema")
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_every_variant_decodes_its_codes_to_what_it_returned(settings: dict[str, object]) -> None:
    model = quantizer(**settings).eval()
    output = model(vectors())
    assert output.codes is not None
    assert output.codes.shape == (BATCH, SLOTS, model.config.num_quantizers)
    assert output.codes.dtype == torch.int64
    assert torch.allclose(model.decode(output.codes), output.quantized, atol=1e-5)
    assert 0 < output.error < 2
    assert 1 <= output.perplexity <= CODES


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_every_variant_learns_to_fit_its_vectors(settings: dict[str, object]) -> None:
    model = quantizer(**settings).train()
    data = vectors(batch=20)
    before = model.eval()(data).error
    model.train()
    optimizer = torch.optim.Adam(list(model.parameters()) or [torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        model(data.requires_grad_()).loss.backward()
        optimizer.step()
    assert model.eval()(data).error < before * 0.95


def test_the_codes_are_the_nearest_by_definition() -> None:
    shared, own = quantizer(), quantizer(codebook="per-slot")
    data = vectors()
    distances = (data[:, :, None] - shared.codebooks[0, 0]).square().sum(-1)
    assert torch.equal(shared.eval()(data).codes[..., 0], distances.argmin(-1))
    distances = (data[:, :, None] - own.codebooks[0]).square().sum(-1)
    assert torch.equal(own.eval()(data).codes[..., 0], distances.argmin(-1))


def test_the_codes_do_not_depend_on_autocast() -> None:
    model = quantizer(codebook_size=4096).eval()
    data = vectors(batch=50)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(data)
    assert torch.equal(low.codes, model(data).codes)
    assert low.quantized.dtype == torch.float32


def test_the_loss_and_its_gradients_are_the_published_ones() -> None:
    model, data = quantizer().train(), vectors().requires_grad_()
    output = model(data)
    codes = model.codebooks[0, 0][output.codes[..., 0]]
    expected = F.mse_loss(codes, data.detach()) + 0.25 * F.mse_loss(data, codes.detach())
    assert torch.allclose(output.loss, expected)
    (output.loss + output.quantized.sum()).backward()
    straight_through = torch.ones_like(data)
    commitment = 0.25 * 2 * (data - codes).detach() / data.numel()
    assert torch.allclose(data.grad, straight_through + commitment, atol=1e-6)
    assert model.codebooks.grad.abs().sum() > 0


def test_more_levels_leave_a_smaller_error() -> None:
    model = quantizer(kind="rvq", num_quantizers=4)
    data = vectors(batch=60)
    model.initialise_from(data)
    model.eval()
    residual, errors = data, []
    codes = model(data).codes
    for level in range(4):
        decoded = model.codebooks[level, 0][codes[..., level]]
        residual = residual - decoded
        errors.append(residual.square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert torch.isclose(model(data).error, torch.tensor(errors[-1]) / data.square().mean(), rtol=1e-4)


def test_usage_is_an_average_that_only_training_moves() -> None:
    model, data = quantizer(decay=0.9), vectors()
    counts = torch.bincount(model.eval()(data).codes.flatten(), minlength=CODES)
    assert torch.equal(model.usage, torch.ones_like(model.usage))
    model.train()(data)
    assert torch.allclose(model.usage[0, 0], 0.9 + 0.1 * counts, atol=1e-6)


def test_ema_codes_are_running_means_of_their_vectors() -> None:
    model = quantizer(update="ema", decay=0.5).train()
    model.sums.copy_(model.codebooks)
    data, before = vectors(), model.codebooks.clone()
    codes = model(data).codes[..., 0]
    assert not list(model.parameters())
    for code in range(CODES):
        mine = data[codes == code]
        expected = (before[0, 0, code] + mine.sum(0)) / (1 + len(mine))
        assert torch.allclose(model.codebooks[0, 0, code], expected, atol=1e-5)


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_unused_codes_become_vectors_of_the_batch_with_the_mean_usage(settings: dict[str, object]) -> None:
    model = quantizer(**settings, decay=0.5, threshold_ema_dead_code=0.4).train()
    model.usage[:, :, 4] = 1e-3
    model.codebooks.data[:, :, 4] = 100.0  # so far away that no vector takes it
    if model.config.update == "ema":
        model.sums[:, :, 4] = 0.1
    data = vectors()
    output = model(data)
    group_rows = data.transpose(0, 1) if model.groups > 1 else data.flatten(0, 1)[None]
    for group in range(model.groups):
        distance = (group_rows[group] - model.codebooks[0, group, 4]).square().sum(-1).min()
        assert distance < 1e-6
        assert model.usage[0, group, 4] > 0.4
    assert output.dead_codes == 0


def test_nothing_is_reset_while_every_code_is_used_enough() -> None:
    model = quantizer().train()
    before = model.codebooks.detach().clone()
    model(vectors())
    assert torch.equal(model.codebooks, before)


def test_codes_under_a_fraction_of_the_mean_usage_are_reset_too() -> None:
    settings = {"threshold_ema_dead_code": 0.0, "decay": 0.999}
    kept, reset = quantizer(**settings), quantizer(**settings, reset_fraction=0.05)
    for model in (kept, reset):
        model.usage[0, 0, 4] = 0.01
        model.codebooks.data[0, 0, 4] = 100.0
        model.train()(vectors())
    assert (kept.codebooks[0, 0, 4] == 100).all()
    assert (reset.codebooks[0, 0, 4] < 100).all()


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_kmeans_places_the_codes_on_clusters(settings: dict[str, object]) -> None:
    torch.manual_seed(2)
    centres = torch.randn(SLOTS if settings["codebook"] == "per-slot" else 1, 4, WIDTH) * 10
    picks = torch.arange(40) % 4
    data = centres[:, picks].transpose(0, 1).expand(-1, SLOTS, -1) + torch.randn(40, SLOTS, WIDTH) * 0.01
    model = quantizer(**settings)
    model.initialise_from(data)
    assert model.eval()(data).error < 1e-3


def test_kmeans_works_with_fewer_vectors_than_codes() -> None:
    rows = torch.randn(2, 3, WIDTH)
    centres = kmeans(rows, CODES, 3)
    assert centres.shape == (2, CODES, WIDTH)
    assert torch.allclose(
        centres.gather(1, assign(rows, centres)[..., None].expand_as(rows)), rows, atol=1e-5
    )


def test_perplexity_is_one_for_one_code_and_k_for_even_use() -> None:
    model = quantizer(codebook_size=4).eval()
    with torch.no_grad():
        model.codebooks.copy_(torch.eye(4, WIDTH)[None, None] * 10)
    one = model.codebooks[0, 0, :1].expand(8, SLOTS, -1)
    even = model.codebooks[0, 0].repeat(2, 1)[:, None].expand(-1, SLOTS, -1)
    assert math.isclose(model(one).perplexity.item(), 1, rel_tol=1e-4)
    assert math.isclose(model(even).perplexity.item(), 4, rel_tol=1e-4)


def test_passing_through_changes_nothing_and_has_no_codes() -> None:
    model = build_quantizer(UnquantizedConfig(), SLOTS, WIDTH)
    assert isinstance(model, PassThrough)
    output = model(vectors())
    assert torch.equal(output.quantized, vectors())
    assert output.codes is None
    with pytest.raises(ValueError, match="'none'"):
        model.decode(torch.zeros(1, SLOTS, 1, dtype=torch.int64))


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_numbering_by_usage_changes_the_numbers_and_nothing_else(settings: dict[str, object]) -> None:
    model = quantizer(**settings)
    model.train()
    for seed in range(5):
        model(vectors(seed))
    model.eval()
    before = model(vectors(9))
    model.number_by_usage()
    after = model(vectors(9))
    assert not torch.equal(before.codes, after.codes)
    assert torch.equal(before.quantized, after.quantized)
    assert (model.usage.diff(dim=-1) <= 0).all()
    if settings["update"] == "ema":
        assert torch.allclose(model.sums / model.usage[..., None], model.codebooks, atol=1e-5)


def test_codes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="3 levels and 5 codebooks"):
        quantizer(kind="rvq", num_quantizers=3, codebook="per-slot").decode(
            torch.zeros(2, SLOTS, 1, dtype=torch.int64)
        )
