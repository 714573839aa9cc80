# SPDX-License-Identifier: Apache-2.0
"""Independent check of an exported Qwen3 GGUF: a numpy forward pass and a plain-Python BPE encoder that
read nothing but the file.  Also writes the expected values that the C++ tests compare with.

  check_gguf.py MODEL.gguf --tokenizer tokenizer.json --expected OUT.json [--hf]

Needs numpy; `regex` and `tokenizers` for the tokenizer vectors; torch and transformers for --hf.
"""
import argparse
import json

import numpy as np

from data import QWEN2_SPLIT
from gguf_export import read_gguf

PROMPTS = ["Once upon a time",
           "There was once a little fox who",
           "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
           "<|im_start|>user\nTell me a story about a little bird.<|im_end|>\n<|im_start|>assistant\n"]

TOKENIZER_STRINGS = [
    "", " ", "  ", "   a", "\n", "\n\n", "\r\n", "\t", " \n \n", "a\n\n\nb", "trailing ", "trailing  \n", "Hello", " Hello",
    "Hello, world!", "Once upon a time there was a little girl.", "don't I'll WE'RE they've", "it's 's", "3.14159", "1234567890",
    "year 1999 and 2026", "a1b2c3", "snake_case camelCase", "x=y+z*(a-b)/2;", "...", "!?!?", "\"Quoted,\" he said.",
    "na\u00efve caf\u00e9 \u00fcber stra\u00dfe", "\u00c5ngstr\u00f6m \u00d8re", "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u3053\u3093\u306b\u3061\u306f", "\ud55c\uad6d\uc5b4", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600", "a \U0001f468\u200d\U0001f469\u200d\U0001f467 b", "e\u0301", "\u00a0nbsp", "\u2028line", "tab\tand  two blanks",
    "    indented\n        more", "A" * 50, "<|notspecial|>", "<|im_start|>user\nHi<|im_end|>\n", "story<|endoftext|>",
]


# --------------------------------------------------------------------------------------------- tokenizer
def byte_alphabet():
    visible = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    table = {b: chr(b) for b in visible}
    for n, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + n)
    return table


class Bpe:
    def __init__(self, keys):
        import regex
        self.tokens = keys["tokenizer.ggml.tokens"]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(keys["tokenizer.ggml.merges"])}
        control = [t for t, k in zip(self.tokens, keys["tokenizer.ggml.token_type"]) if k == 3]
        self.special = regex.compile("(" + "|".join(regex.escape(t) for t in control) + ")")
        self.split = regex.compile(QWEN2_SPLIT)
        self.bytes = byte_alphabet()
        self.back = {c: b for b, c in self.bytes.items()}

    def piece(self, text):
        s = [self.bytes[b] for b in text.encode("utf-8")]
        while len(s) > 1:
            rank, at = min((self.rank.get((a, b), 1 << 30), i) for i, (a, b) in enumerate(zip(s, s[1:])))
            if rank == 1 << 30:
                break
            s[at:at + 2] = [s[at] + s[at + 1]]
        return [self.ids[t] for t in s]

    def encode(self, text):
        out = []
        for i, part in enumerate(self.special.split(text)):
            if i % 2:
                out.append(self.ids[part])
            else:
                for m in self.split.finditer(part):
                    out += self.piece(m.group())
        return out

    def decode(self, ids):
        raw = b""
        for i in ids:
            t = self.tokens[i]
            raw += t.encode() if self.special.fullmatch(t) else bytes(self.back[c] for c in t)
        return raw.decode("utf-8", "replace")


# ----------------------------------------------------------------------------------------------- forward
class NumpyQwen3:
    """Whole-sequence forward pass in float32, written from the formulas and not from model.py."""

    def __init__(self, keys, tensors):
        k = lambda name: keys["qwen3." + name]
        self.w, self.layers, self.eps = tensors, k("block_count"), k("attention.layer_norm_rms_epsilon")
        self.heads, self.groups, self.size = k("attention.head_count"), k("attention.head_count_kv"), k("attention.key_length")
        self.base = k("rope.freq_base")

    def rms(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps)) * self.w[name]

    def rope(self, x):  # [tokens, heads, D]
        half = self.size // 2
        angle = np.arange(len(x))[:, None] * self.base ** (-2.0 * np.arange(half) / self.size)
        cos, sin = np.cos(angle)[:, None].astype(np.float32), np.sin(angle)[:, None].astype(np.float32)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def attention(self, x, i):
        n, p = len(x), f"blk.{i}.attn_"
        lin = lambda name, heads: (x @ self.w[p + name + ".weight"].T).reshape(n, heads, self.size)
        q = self.rope(self.rms(lin("q", self.heads), p + "q_norm.weight"))
        key = self.rope(self.rms(lin("k", self.groups), p + "k_norm.weight"))
        v = lin("v", self.groups)
        out, hidden = np.empty_like(q), np.triu(np.full((n, n), -np.inf, np.float32), 1)
        for h in range(self.heads):
            g = h // (self.heads // self.groups)
            s = q[:, h] @ key[:, g].T / np.float32(np.sqrt(self.size)) + hidden
            e = np.exp(s - s.max(-1, keepdims=True))
            out[:, h] = e / e.sum(-1, keepdims=True) @ v[:, g]
        return out.reshape(n, -1) @ self.w[p + "output.weight"].T

    def logits(self, ids):
        x = self.w["token_embd.weight"][ids]
        for i in range(self.layers):
            p = f"blk.{i}."
            x = x + self.attention(self.rms(x, p + "attn_norm.weight"), i)
            h = self.rms(x, p + "ffn_norm.weight")
            g = h @ self.w[p + "ffn_gate.weight"].T
            x = x + (g / (1 + np.exp(-g)) * (h @ self.w[p + "ffn_up.weight"].T)) @ self.w[p + "ffn_down.weight"].T
        return self.rms(x, "output_norm.weight") @ self.w["token_embd.weight"].T

    def greedy(self, ids, count):
        """Also returns the smallest gap between best and second token: a test may only trust wide ones."""
        ids, new, gap, first = list(ids), [], np.inf, None
        for _ in range(count):
            row = self.logits(ids)[-1]
            first = row if first is None else first
            two = np.partition(row, -2)[-2:]
            gap = min(gap, float(two[1] - two[0]))
            new.append(int(row.argmax()))
            ids.append(new[-1])
        return new, gap, first


def compare_hf(keys, tensors, ids):
    """Largest logit difference to the Qwen3 code of the transformers package with the same weights."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM
    k = lambda name: keys["qwen3." + name]
    cfg = Qwen3Config(vocab_size=k("vocab_size"), hidden_size=k("embedding_length"), num_hidden_layers=k("block_count"),
                      intermediate_size=k("feed_forward_length"), num_attention_heads=k("attention.head_count"),
                      num_key_value_heads=k("attention.head_count_kv"), head_dim=k("attention.key_length"),
                      rms_norm_eps=k("attention.layer_norm_rms_epsilon"), max_position_embeddings=k("context_length"),
                      rope_parameters={"rope_type": "default", "rope_theta": k("rope.freq_base")},
                      tie_word_embeddings=True, attention_bias=False)
    hf = Qwen3ForCausalLM(cfg).float().eval()
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"],
             "lm_head.weight": tensors["token_embd.weight"]}
    for name, array in tensors.items():
        if name.startswith("blk."):
            _, i, part, _ = name.split(".")
            state[f"model.layers.{i}.{names[part]}.weight"] = array
    hf.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in state.items()}, strict=True)
    with torch.no_grad():
        return hf(torch.tensor([ids])).logits[0].numpy()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("--tokenizer")
    ap.add_argument("--expected")
    ap.add_argument("--hf", action="store_true")
    a = ap.parse_args()
    keys, tensors = read_gguf(a.model)
    bpe, net = Bpe(keys), NumpyQwen3(keys, tensors)

    out = {"model": keys["general.name"], "note": "float32 forward pass over the dequantised file, end-of-generation tokens not obeyed; all texts are "
                   "encoded with special tokens parsed and nothing added; smallest_gap is the least distance between "
                   "the best and the second logit of the 32 steps; see tools/train/check_gguf.py",
           "prompts": [], "tokenizer": []}
    for text in PROMPTS:
        ids = bpe.encode(text)
        new, gap, first = net.greedy(ids, 32)
        top = np.argsort(-first)[:8]
        out["prompts"].append({"text": text, "ids": ids, "greedy": new, "greedy_text": bpe.decode(new),
                               "smallest_gap": round(gap, 5), "first_logits_top": [[int(t), round(float(first[t]), 5)] for t in top]})
        print(repr(text), "->", repr(bpe.decode(new)), f"smallest gap {gap:.4f}", flush=True)
        if a.hf:
            mine, theirs = net.logits(ids + new), compare_hf(keys, tensors, ids + new)
            print("  largest difference to transformers: %.2e of %.1f" % (np.abs(mine - theirs).max(), np.abs(theirs).max()))
            assert np.abs(mine - theirs).max() < 2e-3
    if a.tokenizer:
        from tokenizers import Tokenizer
        reference = Tokenizer.from_file(a.tokenizer)
        for text in TOKENIZER_STRINGS:
            ids = reference.encode(text, add_special_tokens=False).ids
            assert bpe.encode(text) == ids and bpe.decode(ids) == text, text
            out["tokenizer"].append({"text": text, "ids": ids})
        print(f"{len(TOKENIZER_STRINGS)} tokenizer strings agree with the tokenizers library")
    if a.expected:
        with open(a.expected, "w", encoding="ascii") as f:
            json.dump(out, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
