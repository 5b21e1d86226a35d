"""Which leading part of a tower stays as it was trained, and which of its parameters have no say in the output."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

FrozenLayers = int | Literal["all"]


def blocks_of(tower: nn.Module) -> nn.ModuleList:
    """The tower's list of blocks: of all its module lists the one with the most parameters (the outer one of two that hold the same).

    These are the layers of a ViT or BERT, the inverted residuals of a MobileNet, the stages of a ResNet, ConvNeXt or Swin.
    """
    lists = [module for module in tower.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise ValueError(f"{type(tower).__name__} has no list of blocks; frozen_layers can be 0 or all here")
    return max(lists, key=lambda blocks: sum(parameter.numel() for parameter in blocks.parameters()))


def leading_modules(tower: nn.Module, frozen_layers: FrozenLayers) -> list[nn.Module]:
    """The modules that stay frozen, each to be handled by itself (a parent of a trained block is in the list only with "all").

    Args:
        tower: a transformers model.
        frozen_layers: 0: none; n: the stem or embeddings and the first n blocks; "all": the whole tower.

    Raises:
        ValueError: fewer blocks than that.
    """
    if frozen_layers == "all":
        return list(tower.modules())
    if frozen_layers == 0:
        return []
    blocks = blocks_of(tower)
    if not 0 < frozen_layers <= len(blocks):
        raise ValueError(f'frozen_layers {frozen_layers}: {type(tower).__name__} has {len(blocks)} blocks; give 0 to {len(blocks)}, or "all"')
    order = list(tower.modules())
    last_frozen = {id(module) for module in blocks[frozen_layers - 1].modules()}
    end = max(place for place, module in enumerate(order) if id(module) in last_frozen)
    above = {id(parent) for parent in order if any(child is blocks for child in parent.modules())}
    return [module for module in order[: end + 1] if id(module) not in above]


def unused_parameters(output: Tensor, module: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters of `module` that `output` does not depend on (mask tokens, heads). DDP would wait for their gradients for ever.

    The graph behind `output` is walked; no gradient is computed.
    """
    used, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        used.add(id(getattr(node, "variable", None)))
        waiting.extend(following for following, _ in node.next_functions)
    return [parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in used]
