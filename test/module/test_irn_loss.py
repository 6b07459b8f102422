from math import log

import pytest
import torch

from module.irn_loss import affinity_displacement_loss, irn_loss


def pairs(height, width, radius):
    """Source, destination and path of every pair, by the definition."""
    for y in range(height - radius + 1):
        for x in range(radius - 1, width - radius + 1):
            for dy in range(radius):
                for dx in range(1 - radius, radius):
                    if (dy == 0 and dx <= 0) or dy**2 + dx**2 >= radius**2:
                        continue
                    path = [
                        (y + v, x + u)
                        for v in range(dy + 1)
                        for u in range(min(0, dx), max(0, dx) + 1)
                        if abs(dy * u - dx * v) / (dy**2 + dx**2) ** 0.5 < 1
                    ]
                    yield (y, x), (y + dy, x + dx), path


def looped_loss(boundary, displacement, labels, radius):
    sums, counts = dict.fromkeys(["bg", "fg", "neg", "dp_bg", "dp_fg"], 0.0), dict.fromkeys(["bg", "fg", "neg"], 0)
    for n in range(len(labels)):
        for source, destination, path in pairs(*labels.shape[1:], radius):
            first, second = int(labels[n][source]), int(labels[n][destination])
            if 255 in (first, second):
                continue
            affinity = 1 - max(float(boundary[n, 0][pixel]) for pixel in path)
            kind = "neg" if first != second else "fg" if first else "bg"
            counts[kind] += 1
            sums[kind] -= log(affinity + 1e-5) if kind != "neg" else log(1 + 1e-5 - affinity)
            for axis in (0, 1) if kind != "neg" else ():
                difference = float(displacement[n, axis][source]) - float(displacement[n, axis][destination])
                sums[f"dp_{kind}"] += abs(difference - (kind == "fg") * (destination[axis] - source[axis]))
    mean = {kind: sums[kind] / (count + 1e-5) for kind, count in counts.items()}
    dp = {f"dp_{kind}": sums[f"dp_{kind}"] / (2 * counts[kind] + 1e-5) for kind in ("fg", "bg")}
    return {"pos": (mean["bg"] + mean["fg"]) / 2, "neg": mean["neg"], **dp}


def example(height, width, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(height)
    boundary = torch.rand(batch, 1, height, width, generator=generator, dtype=dtype)
    displacement = 3 * torch.randn(batch, 2, height, width, generator=generator, dtype=dtype)
    values = torch.tensor([0, 0, 0, 4, 4, 20, 255])
    coarse = values[torch.randint(len(values), (batch, height // 2 + 1, width // 2 + 1), generator=generator)]
    labels = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]
    return boundary, displacement, labels


@pytest.mark.parametrize("height, width, radius", [(9, 11, 4), (5, 9, 5), (8, 7, 2), (12, 21, 10)])
def test_equals_looped_loss(height, width, radius):
    boundary, displacement, labels = example(height, width)
    terms = affinity_displacement_loss(boundary, displacement, labels, radius)
    expected = looped_loss(boundary, displacement, labels, radius)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name].shape == () and float(terms[name]) == pytest.approx(value, abs=1e-9)


def test_equals_published_loss(reference):
    data = reference("irn_loss.npz")
    fields = torch.tensor(data["edge"]), torch.tensor(data["displacement"])
    terms = affinity_displacement_loss(*fields, torch.tensor(data["seg"]), int(data["radius"]))
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(data[name]), abs=1e-4)


def test_gradients():
    boundary, displacement, labels = example(5, 6, batch=1)
    fields = boundary.requires_grad_(), displacement.requires_grad_()
    assert torch.autograd.gradcheck(lambda b, d: tuple(affinity_displacement_loss(b, d, labels, 3).values()), fields)
    irn_loss(affinity_displacement_loss(*fields, labels, 3)).backward()
    assert boundary.grad.abs().sum() > 0 and displacement.grad.abs().sum() > 0


def test_saturated_boundary_gives_finite_terms_and_gradients():
    _, displacement, labels = example(8, 9, dtype=torch.float32)
    boundary = torch.zeros(2, 1, 8, 9)
    boundary[..., ::2] = 1
    boundary.requires_grad_()
    terms = affinity_displacement_loss(boundary, displacement, labels, 4)
    irn_loss(terms).backward()
    assert all(term.isfinite() for term in terms.values()) and boundary.grad.isfinite().all()


def test_fields_in_half_precision_are_compared_in_full():
    """Found: the places of the pixels were in the displacement's precision, in which 257 is 256."""
    boundary, displacement, labels = example(12, 280, batch=1)
    half = [field.bfloat16() for field in (boundary, displacement)]
    terms = affinity_displacement_loss(*half, labels, radius=4)
    expected = affinity_displacement_loss(*(field.double() for field in half), labels, radius=4)
    for name, value in terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5)


def test_without_pairs_the_loss_is_zero():
    boundary, displacement, labels = example(7, 9)
    fields = boundary.requires_grad_(), displacement.requires_grad_()
    terms = affinity_displacement_loss(*fields, torch.full_like(labels, 255), 4)
    assert all(term == 0 for term in terms.values())
    irn_loss(terms).backward()
    assert (boundary.grad == 0).all() and (displacement.grad == 0).all()


def test_displacements_to_one_centre_cost_nothing():
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(34.0), indexing="ij")
    displacement = torch.stack([12.5 - rows, 16.25 - columns])[None]
    terms = affinity_displacement_loss(torch.full((1, 1, 30, 34), 0.5), displacement, torch.ones(1, 30, 34).int())
    assert float(terms["dp_fg"]) == pytest.approx(0, abs=1e-5) and terms["dp_bg"] == 0


def test_label_shapes_and_types_agree():
    boundary, displacement, labels = example(8, 9, batch=1, dtype=torch.float32)
    expected = affinity_displacement_loss(boundary, displacement, labels, 4)
    for other in (labels[0], labels[:, None], labels.to(torch.uint8), labels.int()):
        assert affinity_displacement_loss(boundary, displacement, other, 4) == expected
    half = affinity_displacement_loss(boundary.half(), displacement.half(), labels, 4)
    for name, value in expected.items():
        assert float(half[name]) == pytest.approx(float(value), abs=2e-2)


def test_whole_loss():
    terms = {name: torch.tensor(value) for name, value in {"pos": 1.0, "neg": 2.0, "dp_fg": 3.0, "dp_bg": 5.0}.items()}
    assert irn_loss(terms) == 5.5


def test_refuses_a_map_without_pairs():
    boundary, displacement, labels = example(9, 18)
    with pytest.raises(ValueError, match="9 x 18 .*radius 10"):
        affinity_displacement_loss(boundary, displacement, labels)
