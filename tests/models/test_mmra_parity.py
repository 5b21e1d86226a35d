"""The released form of the popularity network with the released program's weights gives its numbers, and the published form is another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.fusion.vector_set import vector_set
from models.mmra_names import NAMES, released_settings, released_weights
from models.popularity import PopularityNetwork
from tests.mmra_reference import MMRAReference


@pytest.fixture(scope="module")
def reference(test_data: Path) -> MMRAReference:
    return MMRAReference(test_data)


@pytest.fixture(scope="module")
def network(reference: MMRAReference) -> PopularityNetwork:
    weights, unknown = released_weights(reference.checkpoint())
    assert unknown == []
    network = PopularityNetwork(**released_settings(reference.checkpoint()))
    network.load_state_dict(weights)
    return network.eval()


@torch.no_grad()
def test_every_stored_step_of_the_release_comes_out(reference: MMRAReference, network: PopularityNetwork) -> None:
    vision, _, words, _ = reference.item()
    neighbours = reference.neighbours()
    item = {"vision": vector_set(vision), "words": vector_set(words)}
    near = {name: neighbours.features(name) for name in item}
    own_found, near_found = network.item.attention(item), network.neighbours.attention(near)
    own, pooled = network.item(item), network.neighbours(near)

    ours = {
        "cross_modal_attention_0": own_found["vision"],
        "cross_modal_attention_1": own_found["words"],
        "uni_modal_attention_0": own["vision"],
        "uni_modal_attention_1": own["words"],
        "retrieval_aggregation_0": near["vision"].values,
        "retrieval_aggregation_1": near["words"].values,
        "retrieval_aggregation_2": neighbours.label().values,
        "retrieval_cross_modal_attention_0": near_found["vision"],
        "retrieval_cross_modal_attention_1": near_found["words"],
        "retrieval_uni_modal_attention_0": pooled["vision"],
        "retrieval_uni_modal_attention_1": pooled["words"],
        "prediction_input": network.joined(*reference.item(), neighbours),
        "prediction": network(*reference.item(), neighbours),
    }

    assert set(ours) == reference.names
    for name, value in ours.items():
        reference.assert_same(value, name)


@torch.no_grad()
def test_the_steps_can_tell_a_near_variant_apart(reference: MMRAReference, network: PopularityNetwork) -> None:
    attention = network.item.attention
    item = {"vision": vector_set(reference.item()[0]), "words": vector_set(reference.item()[2])}
    kept = attention.factors

    attention.factors = [1.0, -0.4]
    found = attention(item)
    attention.factors = kept

    assert (found["vision"] - reference["cross_modal_attention_0"]).abs().max() > 1e-2


def test_the_name_map_is_one_to_one_and_names_what_a_checkpoint_lacks_or_has_besides(reference: MMRAReference, network: PopularityNetwork) -> None:
    released = reference.checkpoint()
    extra, short = released | {"relu.slope": torch.zeros(1)}, {name: value for name, value in released.items() if "label" not in name}

    assert set(NAMES) == set(released) and sorted(NAMES.values()) == sorted(network.state_dict())
    assert released_settings(released) == {"vision_dim": 32, "words_dim": 32, "form": "released", "width": 32, "hidden": (800, 200)}
    assert released_weights(extra)[1] == ["relu.slope"]
    with pytest.raises(ValueError, match=r"label_embedding_linear.weight, label_embedding_linear.bias missing \(2 of 40\)"):
        released_settings(short)
