# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a GGUF file in plain Python, with the two calls that data.py makes of the tokenizers library."""
from types import SimpleNamespace

from check_gguf import Bpe
from gguf_export import read_gguf


class GgufTokenizer(Bpe):
    def __init__(self, path):
        keys, _ = read_gguf(path)
        super().__init__(keys)
        self.known = {}  # words repeat: the merges of each are found once

    def piece(self, text):
        ids = self.known.get(text)
        if ids is None:
            ids = self.known[text] = super().piece(text)
        return ids

    def encode(self, text, add_special_tokens=False):
        assert not add_special_tokens
        return SimpleNamespace(ids=super().encode(text))

    def encode_batch(self, texts, add_special_tokens=False):
        return [self.encode(t, add_special_tokens) for t in texts]
