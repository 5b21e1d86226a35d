"""Run under torchrun: a small net with synchronised batch norm on this rank's share of a batch; rank 0 writes what came out.

torchrun --nproc_per_node 2 -m tests.models.batch_norm_on_ranks OUT.pt
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from launch import distributed
from models.batch_norm import synchronise_batch_norm

ROWS = 6


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2, affine=False))
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 2)
        model[1].bias.normal_()
    return model


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 3, 8, 8, generator=generator) * 3 + 50, torch.randn(ROWS, 2, 4, 4, generator=generator)


def result(model: nn.Module, images: Tensor, wanted: Tensor, world_size: int) -> dict[str, Tensor]:
    """Output, gradients and running statistics of a loss that is the mean over all ranks' rows, as DDP would leave them."""
    images.requires_grad_()
    output = model(images)
    # Ranks hold 4 and 2 rows: weights make the sum over ranks, divided by their number, the whole batch's mean.
    ((output - wanted).square().sum() * world_size / ROWS).backward()
    gradients = {f"gradient of {name}": distributed.sum_over_ranks(parameter.grad) / world_size for name, parameter in model.named_parameters()}
    buffers = {name: buffer.float() for name, buffer in model.named_buffers()}
    assert images.grad is not None
    return {"output": output.detach(), "gradient of images": images.grad / world_size, **gradients, **buffers}


def main(out: str) -> None:
    distributed.start("cpu")
    model, (images, wanted) = net().train(), batch()
    synchronise_batch_norm(model)
    share = slice(0, 4) if distributed.rank() == 0 else slice(4, ROWS)

    found = result(model, images[share].clone(), wanted[share], distributed.world_size())

    for name in ("output", "gradient of images"):
        whole = torch.zeros(ROWS, *found[name].shape[1:])
        whole[share] = found[name]
        found[name] = distributed.sum_over_ranks(whole)
    if distributed.rank() == 0:
        torch.save(found, out)
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1])
