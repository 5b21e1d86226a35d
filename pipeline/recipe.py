"""A Recipe is everything that fixes a run: data, system, batches, optimiser, schedule, precision, evaluation.

Every field is a flag (`--stream.batch_size 64`) and a key of a YAML file (`--config my.yaml`); the resolved recipe is saved in
every checkpoint. `pipeline/recipes/NAME.py` offers variants by name: `qcd` is the paper's run, `qcd:smoke` the same shape at a
size for one CPU.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(frozen=True)
class Packing:
    """What is packed of a corpus for training."""

    holdout_videos: int = 0
    """training clips set aside for validation (recall while training, best checkpoint); 0 = none, unless the corpus has a val split"""
    shard_samples: int = 1000
    """samples a shard when a corpus is packed"""
    vocab_size: int = 8000
    """entries of the WordPiece vocabulary that packing trains for text encoders made from scratch"""
    regions: int = 0
    """largest regions kept of an item whose corpus has regions; 0 = all"""
    region_type: Literal["float16", "float32"] = "float16"
    """of the regions' features"""


@dataclass(frozen=True)
class Encoders:
    """The towers: transformers model folders, or small ones from scratch."""

    vision: str = "scratch"
    """folder of any transformers vision model (Chinese-CLIP, ViT, MobileNetV2 ...), or "scratch" for a small residual net (scratch:tiny,
    scratch:small, scratch:medium)"""
    text: str = "scratch"
    """folder of any transformers text model (Chinese-CLIP, BERT, MiniLM ...), or "scratch" for a small BERT and the packed vocabulary"""
    text_pooling: Literal["auto", "first", "mean"] = "auto"
    """one vector out of the token vectors; auto = what the folder says, else the first token (as QCD)"""
    frozen_vision_layers: int | Literal["all"] = 0
    """leading blocks of the vision tower that are not trained; all = the whole tower but its projection"""
    frozen_text_layers: int | Literal["all"] = 0
    """leading blocks of the text tower that are not trained; all = the whole tower but its projection"""
    batch_norm: Literal["frozen", "synchronised"] = "frozen"
    """batch normalisation in a vision tower: running statistics kept as loaded, or statistics over all ranks"""
    remember_features_mb: int = 0
    """megabytes that each tower which is frozen as a whole may take for features of frames or words seen before, which are then not computed
    again (worth it for small corpora, without random crops)"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, about a third more time"""


@dataclass(frozen=True)
class Stream:
    """How shards become batches."""

    batch_size: int = 64
    """documents (pairs policy: pairs) in one forward of all ranks together; a multiple of the number of ranks"""
    policy: Literal["document", "published", "cluster", "pairs", "clips", "captions", "links"] = "document"
    """document: an epoch is every document once, its query drawn among its own; published (QCD as released): an epoch is every query once,
    a side drawn at even chance where it has both, one document of that side at random; cluster: an epoch as published, in batches whose
    queries are of one cluster (QCD's hard negatives); pairs: an epoch is every clip once, each with a good that it shares a query with (MQMC);
    clips: an epoch is every clip once, by itself (MMRA); captions: an epoch is every caption once, with its image (CODER);
    links: an epoch is every document once with each of its queries (HSL with duplicated queries; without: published)"""
    cluster_level: int = 0
    """cluster policy: level 0 as released (coarsest), 1 or 2 finer"""
    domains: Literal["single", "mixed"] = "single"
    """single: a batch holds goods or clips, on all ranks (as published); mixed: both"""
    window_shards: int = 8
    """document policy: shards whose documents are shuffled together"""
    corpora: dict[str, float] = field(default_factory=dict)
    """packed corpora that are trained on together, by address, and their weights (shares of the batches); empty: --data alone. --train_corpora
    fills it in"""
    workers: int = 2
    """loading processes a rank; 0 = load in the training process"""
    prefetch: int = 2
    """batches that each loading process prepares ahead"""
    decoder: Literal["decord", "pyav"] = "decord"
    """video decoder; what decord cannot open goes to PyAV"""
    decode_timeout_s: float = 20.0
    """seconds after which a decoder counts as hung and is ended"""


@dataclass(frozen=True)
class Optim:
    """Optimiser and schedule."""

    name: Literal["adam", "adamw"] = "adam"
    """optimiser"""
    lr: float = 1e-4
    """base learning rate, multiplied by a part's factor"""
    factors: dict[str, float] = field(default_factory=dict)
    """learning-rate factor of each part of the system, 1 where not named; 0 = frozen"""
    weight_decay: float = 0.0
    """weight decay"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay of the first and second moments"""
    eps: float = 1e-8
    """added to the root of the second moment"""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """step: times `gamma` every `step_epochs`; cosine: down to zero at the last step; constant"""
    step_epochs: float = 3.0
    """epochs between two steps of the step schedule"""
    gamma: float = 0.1
    """factor of the step schedule"""
    warmup_steps: int = 0
    """optimiser steps over which the learning rate rises linearly from zero"""
    clip_norm: float = 5.0
    """largest gradient norm over all parameters; 0 = no clipping"""


@dataclass(frozen=True)
class Trainer:
    """The run."""

    seed: int = 0
    """seed of weights, order, augmentation and dropout"""
    epochs: int = 10
    """passes over the data (an epoch is what stream.policy says)"""
    max_steps: int = 0
    """stop after so many optimiser steps; 0 = after `epochs`"""
    accumulate: int = 1
    """forwards whose gradients are added up for one optimiser step"""
    piece_size: int = 0
    """rows of a rank that are encoded at a time (gradient caching): memory of a small batch, gradients of the whole one, for a second
    encoding; 0 = all at once"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the card or processor computes in it, else fp16 with a loss scale on a GPU, else fp32"""
    threads: int = 0
    """threads of a forward on a CPU; 0 = the cores that this node's other ranks and the loading processes leave"""
    channels_last: bool = True
    """memory layout that convolutions prefer"""
    compile: str = ""
    """backend that torch.compile gives the towers to, e.g. inductor: minutes at the start, faster steps on a GPU; empty = not compiled"""
    ema_decay: float = 0.0
    """share of itself that a slow average of the weights keeps at a step (.999: it looks back over some 1,000 steps); validated beside the
    live weights, evaluated with --weights ema; 0 = none"""
    log_every: int = 10
    """optimiser steps between two lines of the log"""
    checkpoint_every: int = 1000
    """optimiser steps between two checkpoints; one is written at the end in any case"""
    keep: int = 2
    """newest checkpoints kept, beside the best one"""
    validate_every: int = 0
    """optimiser steps between two validations; 0 = at the end of each epoch"""
    best_metric: str = "video2goods/recall@10"
    """validation metric that names the best checkpoint (median_rank, mae, nmse: lower is better; all others: higher is); with ema/ before it, that
    of the slow average; of several with commas between, the next one decides where those before are equal"""
    patience: int = 0
    """validations in a row without a better one after which the run ends early; 0 = it never does"""
    timeout_s: float = 1800.0
    """seconds that a rank waits for the others before the job stops"""


@dataclass(frozen=True)
class Evaluation:
    """What is reported."""

    tasks: tuple[str, ...] = ("video2goods", "goods2video")
    """retrieval tasks, query domain first; or popularity, which is predicted"""
    pools: bool = False
    """rank each query's own candidates alone where the split names some (KDD Cup); false: all documents of the split"""
    reranked: int = 100
    """best documents by embedding whose order the system's own score decides, where that is no product of embeddings (HSL with max)"""
    batch_size: int = 64
    """items embedded at a time; batches never cross a shard"""
    dtype: Literal["float16", "float32"] = "float16"
    """of the embeddings in a dump"""


@dataclass(frozen=True)
class Recipe:
    """One run, resolved. `system` is the recipe module's own dataclass of settings."""

    name: str
    system: Any
    packing: Packing = Packing()
    encoders: Encoders = Encoders()
    stream: Stream = Stream()
    optim: Optim = Optim()
    trainer: Trainer = Trainer()
    evaluation: Evaluation = Evaluation()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; `from_dict` reads them back."""
        return dataclasses.asdict(self)


GROUPS = ("packing", "encoders", "stream", "optim", "trainer", "evaluation", "system")


def module_of(name: str) -> ModuleType:
    """The recipe module for `name` ("qcd" or "qcd:smoke"). Raises ValueError with the names there are."""
    import pipeline.recipes

    known = sorted(info.name for info in pkgutil.iter_modules(pipeline.recipes.__path__))
    base = name.partition(":")[0]
    if base not in known:
        raise ValueError(f"--recipe {name}: there is no recipe {base!r}; choose among {', '.join(known)}")
    return importlib.import_module(f"pipeline.recipes.{base}")


def resolve(name: str) -> Recipe:
    """The recipe that `name` ("qcd", "qcd:smoke") stands for, before any flag. Raises ValueError with the variants there are."""
    module = module_of(name)
    variant = name.partition(":")[2] or "real"
    if variant not in module.VARIANTS:
        raise ValueError(f"--recipe {name}: {module.__name__.rpartition('.')[2]} has the variants {', '.join(module.VARIANTS)}")
    recipe: Recipe = module.VARIANTS[variant]()
    return recipe


def add_recipe_arguments(parser: ArgumentParser, recipe: Recipe) -> None:
    """Give `parser` a flag for every field of `recipe`, with its value as the default."""
    parser.add_argument("--config", action="config", help="YAML file with any of the fields below")
    for group in GROUPS:
        value = getattr(recipe, group)
        parser.add_argument(f"--{group}", type=type(value), default=value)


def recipe_from(arguments: Namespace, recipe: Recipe) -> Recipe:
    """`recipe` with the fields that were set in `arguments`."""
    values = {group: _as(type(getattr(recipe, group)), arguments[group]) for group in GROUPS}
    return dataclasses.replace(recipe, **values)


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote. Raises ValueError on a field that this version does not know or that has a wrong type."""
    recipe = resolve(values["name"])
    parser = ArgumentParser(exit_on_error=False)
    for group in GROUPS:
        parser.add_argument(f"--{group}", type=type(getattr(recipe, group)), default=getattr(recipe, group))
    try:
        parsed = parser.parse_object({group: values[group] for group in GROUPS if group in values})
    except Exception as error:  # jsonargparse raises its own and argparse's errors
        raise ValueError(f"saved recipe {values['name']}: {error}") from error
    return recipe_from(parsed, recipe)


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """Fields that differ, by dotted name: (value in `one`, value in `other`)."""
    found = {}
    for group in GROUPS:
        a, b = dataclasses.asdict(getattr(one, group)), dataclasses.asdict(getattr(other, group))
        found.update({f"{group}.{key}": (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)})
    return found


def _as(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    plain = value.as_dict() if isinstance(value, Namespace) else dict(value)
    kinds = {f.name: f for f in dataclasses.fields(kind)}
    return kind(**{key: tuple(item) if isinstance(item, list) and "tuple" in str(kinds[key].type) else item for key, item in plain.items()})
