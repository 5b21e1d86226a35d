"""A WordPiece vocabulary for text encoders made from scratch: lower case, accents off, every Chinese character a word of its own.

Training it twice on the same texts gives the same bytes. The trainer of `tokenizers` alone does not: it numbers the pieces inside
words (`##a`) in the order of a hash table that differs from process to process, and ties between merges are broken by those numbers.
Here every piece of one character gets its number beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from launch.files import whole_folder, write_json

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Their ids are 0 to 4."""

LONGEST_TEXT = 512
"""Tokens that `truncation=True` cuts to where the caller gives no length."""


def train_vocabulary(texts: Callable[[], Iterable[str]], size: int, folder: Path) -> int:
    """Train on `texts()`, which is gone through twice, write a Hugging Face tokenizer folder and return its number of entries.

    Nothing is written, and 0 returned, where the texts hold no character. Characters have at most half of the `size` entries: the
    rarest are left to [UNK].

    Args:
        texts: gives the texts anew at each call.
        size: entries of the vocabulary, special tokens included; fewer are used where the texts have no more to merge.
        folder: loads with `transformers.AutoTokenizer.from_pretrained`.
    """
    if size < 2 * len(SPECIAL):
        raise ValueError(f"--vocab_size {size}: a vocabulary needs at least {2 * len(SPECIAL)} entries, or 0 for none")
    tokenizer = _bert_tokenizer({token: id for id, token in enumerate(SPECIAL)})
    firsts, inner = _characters(tokenizer, texts(), (size - len(SPECIAL)) // 2)
    if not firsts:
        return 0
    numbered = [*SPECIAL, *(f"##{letter}" for letter in inner)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=numbered, initial_alphabet=firsts, limit_alphabet=len(firsts), show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    trained = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    # A new tokenizer, since the trained one takes the numbered pieces for special tokens.
    vocabulary = {token: id for id, (token, _) in enumerate(trained)}
    with whole_folder(folder) as temporary:
        _bert_tokenizer(vocabulary).save(str(temporary / "tokenizer.json"))
        named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL))
        settings = {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "tokenize_chinese_chars": True, "model_max_length": LONGEST_TEXT}
        write_json(temporary / "tokenizer_config.json", {**settings, **named})
        (temporary / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    return len(vocabulary)


def _bert_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _characters(tokenizer: Tokenizer, texts: Iterable[str], most: int) -> tuple[list[str], list[str]]:
    """The commonest characters, at most so many that with their forms inside words there are `most` pieces: (all, those that can
    stand inside a word, which punctuation and Chinese characters cannot)."""

    def words_of(text: str) -> list[str]:
        return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]

    counts: Counter[str] = Counter()
    for text in texts:
        for word in words_of(text):
            counts.update(word)
    kept: list[str] = []
    inner: list[str] = []
    for letter, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        stands_inside = len(words_of(f"a{letter}")) == 1
        if len(kept) + len(inner) + 1 + stands_inside > most:
            break
        kept.append(letter)
        if stands_inside:
            inner.append(letter)
    return sorted(kept), sorted(inner)
