"""Words that pre-training hides and asks for.

Legend: L tokens of a text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MASKED, REPLACED = 0.8, 0.1
"""Of the words that are asked for: how many become [MASK], how many another word; the rest stay as they are."""


class WordMasking:
    """Draws which words of a text are hidden: `share` of them, at least one; of these 80 % become [MASK], 10 % another word, 10 % stay.

    Special tokens, padding and unknown words among them, are never drawn.

    Source: BERT (Devlin et al. 2019, section 3.1), and as released for the number of words drawn.

    Args:
        tokenizer: of transformers.
        share: of a text's words, between 0 and 1.

    Raises:
        ValueError: the tokenizer has no [MASK], or `share` is no share.
    """

    def __init__(self, tokenizer: Any, share: float) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError(
                f"{tokenizer.name_or_path}: this tokenizer has no [MASK], so no word can be asked for; give --system.masking_weight 0, "
                "or a text encoder of BERT's kind"
            )
        if not 0 < share < 1:
            raise ValueError(f"--system.masked_share {share}: a share between 0 and 1, e.g. 0.15; --system.masking_weight 0 asks for no word")
        self._mask_id, self._share = tokenizer.mask_token_id, share
        self._ordinary = np.ones(len(tokenizer), dtype=bool)
        self._ordinary[tokenizer.all_special_ids] = False
        self._words = np.flatnonzero(self._ordinary)

    def __call__(self, ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(ids with words hidden, which words are asked for), int64 and bool [L]; what is drawn does not depend on padding behind the text."""
        places = np.flatnonzero(self._ordinary[ids])
        chosen = rng.permutation(places)[: max(1, round(self._share * len(places)))]
        kind, others = rng.random(len(chosen)), rng.choice(self._words, len(chosen))
        hidden, asked = ids.copy(), np.zeros(len(ids), dtype=bool)
        asked[chosen] = True
        hidden[chosen] = np.where(kind < MASKED, self._mask_id, np.where(kind < MASKED + REPLACED, others, ids[chosen]))
        return hidden, asked
