"""A CODER system: for a train split, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from launch.logs import say
from models.concept_graph import ConceptGraph, concept_graph
from models.encoders import TextEncoder, load_text
from models.encoders.scratch import scratch_text
from models.region_encoder import RegionEncoder
from models.two_branches import ConceptBranch, TwoBranches
from models.word_encoder import TokenEncoder, WordEncoder
from pipeline.concepts.counts import Concepts, read_concepts
from pipeline.feature_member import feature_width
from pipeline.recipe import Recipe
from pipeline.recipes.coder.preparation import REMEDY
from pipeline.recipes.coder.settings import CODERSettings
from pipeline.recipes.coder.system import CODER
from pipeline.regions import REGIONS
from pipeline.shards import ShardSet
from pipeline.towers import SCRATCH, check_towers
from pipeline.words import Vocabulary, counted_vocabulary, read_vocabulary, read_word_vectors


def check(recipe: Recipe) -> None:
    """Raise ValueError where a batch would not be pairs or a file that the recipe names is not there, before anything is packed or started."""
    settings: CODERSettings = recipe.system
    if recipe.stream.policy != "captions":
        raise ValueError(f"--stream.policy {recipe.stream.policy}: coder compares images with their own captions; use --stream.policy captions")
    if settings.word_vectors and not Path(settings.word_vectors).is_file():
        raise ValueError(f"--system.word_vectors {settings.word_vectors}: no such file; give GloVe's text file, or leave it out")
    if settings.text == "tokens":
        check_towers(recipe.encoders)
    elif recipe.encoders.text != SCRATCH:
        raise ValueError(f"--encoders.text {recipe.encoders.text} encodes captions with --system.text tokens alone; set that, or leave it out")


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> CODER:
    """A new system for the regions, words and concepts of `shards`.

    Args:
        packed_tokenizer: the vocabulary that packing trained; a text model from scratch uses it.
        shards: the train split.

    Raises:
        ValueError: the split has no regions, no counted words or no concepts, or a file does not fit.
    """
    assert shards is not None, "widths, words and concepts are those of the train split"
    s: CODERSettings = recipe.system
    region_dim = feature_width(shards, "image", REGIONS)
    if not region_dim:
        raise ValueError(f"{shards.folder}: no image has {REGIONS}.npy; {REMEDY}")
    words: Vocabulary | Path
    if s.text == "words":
        words = counted_vocabulary(shards.folder, s.least_count)
        vectors = read_word_vectors(Path(s.word_vectors), words) if s.word_vectors else None
        text: WordEncoder | TokenEncoder = WordEncoder(len(words), s.word_dim if vectors is None else vectors.shape[1], s.width, s.dropout)
        if vectors is not None and isinstance(text, WordEncoder):
            text.take_vectors(vectors)
        say(f"{len(words):,} words")
    else:
        words, tower = _tower(recipe, packed_tokenizer)
        text = TokenEncoder(tower, s.dropout)
    concepts = read_concepts(shards.folder).first(s.concept_count) if s.concepts else None
    graph = _graph(s, concepts) if concepts is not None else None
    return _assembled(s, text, graph, region_dim, words, concepts)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> CODER:
    """The system that `describe` described, its weights to be loaded."""
    s: CODERSettings = recipe.system
    words: Vocabulary | Path
    if s.text == "words":
        words = read_vocabulary(checkpoint)
        text: WordEncoder | TokenEncoder = WordEncoder(len(words), description["word_dim"], s.width, s.dropout)
    else:
        words = checkpoint / "tokenizer"
        text = TokenEncoder(TextEncoder.from_description(description["text"]), s.dropout)
    concepts = read_concepts(checkpoint) if s.concepts else None
    graph = None
    if concepts is not None:
        graph = ConceptGraph(
            torch.zeros(len(concepts), description["concept_dim"]), torch.zeros(len(concepts), len(concepts)), s.concept_hidden, s.width
        )
    return _assembled(s, text, graph, description["region_dim"], words, concepts)


def _assembled(
    s: CODERSettings,
    text: WordEncoder | TokenEncoder,
    graph: ConceptGraph | None,
    region_dim: int,
    words: Vocabulary | Path,
    concepts: Concepts | None,
) -> CODER:
    branch = None if graph is None else ConceptBranch(graph, s.width, s.label_share, s.dropout)
    return CODER(s, TwoBranches(RegionEncoder(region_dim, s.width, s.dropout), text, branch), region_dim, words, concepts)


def _tower(recipe: Recipe, packed_tokenizer: Path | None) -> tuple[Path, TextEncoder]:
    """(tokenizer's folder, text model)."""
    s: CODERSettings = recipe.system
    if recipe.encoders.text != SCRATCH:
        folder = Path(recipe.encoders.text)
        return folder, load_text(folder, dim=s.width, pooling="mean", frozen_layers=recipe.encoders.frozen_text_layers)
    if packed_tokenizer is None:
        raise ValueError("a text encoder from scratch needs the vocabulary that packing trains; pack the train split with --vocab_size above 0")
    vocabulary = len(transformers.AutoTokenizer.from_pretrained(packed_tokenizer, local_files_only=True, trust_remote_code=False))
    return packed_tokenizer, scratch_text(s.width, vocabulary, dropout=s.dropout)


def _graph(s: CODERSettings, concepts: Concepts) -> ConceptGraph:
    """Concepts' words by GloVe's vectors of their names, or random ones."""
    graph = concept_graph(torch.from_numpy(concepts.captions), torch.from_numpy(concepts.together))
    say(f"{len(concepts)} concepts, {int((graph > 0).sum()) - len(concepts)} edges: {', '.join(forms[0] for forms in concepts.forms[:8])} …")
    vectors: Tensor
    if s.word_vectors:
        names = Vocabulary([forms[0] for forms in concepts.forms])
        vectors = read_word_vectors(Path(s.word_vectors), names)[-len(concepts) :]
    else:
        vectors = torch.randn(len(concepts), s.word_dim)
    return ConceptGraph(vectors, graph, s.concept_hidden, s.width)
