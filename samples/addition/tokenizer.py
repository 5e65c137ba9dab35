"""The tokenizer: one token a byte, as a byte-level BPE without merges, so that every text has an encoding."""

BOS_TOKEN, EOS_TOKEN, PAD_TOKEN, UNK_TOKEN = "<s>", "</s>", "<pad>", "<unk>"
SPECIAL_TOKENS = [UNK_TOKEN, BOS_TOKEN, EOS_TOKEN, PAD_TOKEN]
VOCAB_SIZE = len(SPECIAL_TOKENS) + 256


def byte_characters():
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's convention).

    Bytes that print in Latin-1 stand for themselves; the others take the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters.update({byte: chr(0x100 + n) for n, byte in enumerate(others)})
    return [characters[byte] for byte in range(256)]


class ByteTokenizer:
    """The ids that training needs; what it gives equals what the files below give."""

    bos_token_id = SPECIAL_TOKENS.index(BOS_TOKEN)
    eos_token_id = SPECIAL_TOKENS.index(EOS_TOKEN)
    pad_token_id = SPECIAL_TOKENS.index(PAD_TOKEN)

    @staticmethod
    def characters(text):
        return [len(SPECIAL_TOKENS) + byte for byte in text.encode()]


def tokenizer_json():
    """The content of tokenizer.json. Ids: the special tokens, then the bytes in order."""
    vocab = {token: n for n, token in enumerate(SPECIAL_TOKENS + byte_characters())}
    bos = {"SpecialToken": {"id": BOS_TOKEN, "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special_token(n, token) for n, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": _byte_level(add_prefix_space=False),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                BOS_TOKEN: {"id": BOS_TOKEN, "ids": [ByteTokenizer.bos_token_id], "tokens": [BOS_TOKEN]}
            },
        },
        "decoder": _byte_level(add_prefix_space=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


def tokenizer_config():
    """The content of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS_TOKEN,
        "eos_token": EOS_TOKEN,
        "pad_token": PAD_TOKEN,
        "unk_token": UNK_TOKEN,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 64,
    }


def _byte_level(add_prefix_space):
    flags = {"add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": True}
    return {"type": "ByteLevel", **flags}


def _special_token(token_id, token):
    return {
        "id": token_id,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
