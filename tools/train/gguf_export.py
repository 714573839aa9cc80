# SPDX-License-Identifier: Apache-2.0
"""A small GGUF version 3 writer and reader with a Q8_0 codec; numpy only.

`Writer` knows nothing of any model, so other exporters can use it.  `export_qwen3` lays down a dense
Qwen3 model with a byte-level BPE tokenizer.
"""
import json
import struct

import numpy as np

U32, I32, F32_KEY, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TYPE_F32, TYPE_Q5_0, TYPE_Q8_0 = 0, 6, 8
ALIGNMENT = 32

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


# ------------------------------------------------------------------------------------------------- Q8_0
def quantize_q8_0(matrix):
    """float32 [..., n] (n a multiple of 32) -> bytes; per 32 values one f16 scale and 32 signed bytes."""
    x = np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1, 32)
    d = (np.abs(x).max(axis=1) / np.float32(127.0)).astype(np.float32)
    # The quants use the scale before it is rounded to f16, as the reference does.
    inverse = np.divide(np.float32(1.0), d, out=np.zeros_like(d), where=d > 0)
    scaled = x * inverse[:, None]
    q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)  # halves away from zero
    blocks = np.empty(len(x), dtype=[("d", "<f2"), ("q", "i1", 32)])
    blocks["d"], blocks["q"] = d.astype(np.float16), q
    return blocks.tobytes()


def dequantize_q8_0(data, shape):
    blocks = np.frombuffer(data, dtype=[("d", "<f2"), ("q", "i1", 32)])
    return (blocks["q"].astype(np.float32) * blocks["d"].astype(np.float32)[:, None]).reshape(shape)


def dequantize_q5_0(data, shape):
    blocks = np.frombuffer(data, dtype=[("d", "<f2"), ("high", "<u4"), ("low", "u1", 16)])
    low = np.concatenate([blocks["low"] & 15, blocks["low"] >> 4], axis=1).astype(np.int8)
    high = (blocks["high"][:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.int8)
    return ((low + 16 * high - 16).astype(np.float32) * blocks["d"].astype(np.float32)[:, None]).reshape(shape)


# ----------------------------------------------------------------------------------------------- writing
def pack_string(text):
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    return pack_string(value) if kind == STRING else struct.pack(SCALARS[kind], value)


class Writer:
    def __init__(self):
        self.keys, self.names, self.tensors = [], set(), []

    def add(self, key, kind, value):
        assert key not in self.names, f"duplicate key {key}"
        self.names.add(key)
        self.keys.append(pack_string(key) + struct.pack("<I", kind) + pack_value(kind, value))

    def add_array(self, key, kind, values):
        assert key not in self.names, f"duplicate key {key}"
        self.names.add(key)
        self.keys.append(pack_string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
                         + b"".join(pack_value(kind, v) for v in values))

    def add_tensor(self, name, array, kind):
        """The array has numpy order (rows first); GGUF lists the contiguous dimension first."""
        array = np.asarray(array)
        if kind == TYPE_Q8_0:
            assert array.shape[-1] % 32 == 0, f"{name}: a row must be whole blocks"
            data = quantize_q8_0(array)
        else:
            assert kind == TYPE_F32
            data = np.ascontiguousarray(array, dtype="<f4").tobytes()
        self.tensors.append((name, array.shape[::-1], kind, data))

    def write(self, path):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys)) + b"".join(self.keys)
        offset, infos = 0, []
        for name, dims, kind, data in self.tensors:
            infos.append(pack_string(name) + struct.pack("<I", len(dims))
                         + b"".join(struct.pack("<Q", n) for n in dims) + struct.pack("<IQ", kind, offset))
            offset += padded(len(data))
        head += b"".join(infos)
        with open(path, "wb") as f:
            f.write(head.ljust(padded(len(head)), b"\0"))
            for _, _, _, data in self.tensors:
                f.write(data.ljust(padded(len(data)), b"\0"))


def padded(n):
    return (n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


# ----------------------------------------------------------------------------------------------- reading
DECODERS = {TYPE_F32: (lambda data, shape: np.frombuffer(data, "<f4").reshape(shape), 1, 4),
            TYPE_Q5_0: (dequantize_q5_0, 32, 22), TYPE_Q8_0: (dequantize_q8_0, 32, 34)}


def read_gguf(path):
    """-> (keys, {name: float32 array}); F32, Q8_0 and Q5_0 tensors."""
    with open(path, "rb") as f:
        raw = f.read()
    at = 0

    def scalar(fmt):
        nonlocal at
        value = struct.unpack_from(fmt, raw, at)[0]
        at += struct.calcsize(fmt)
        return value

    def value(kind):
        nonlocal at
        if kind == STRING:
            n = scalar("<Q")
            at += n
            return raw[at - n:at].decode("utf-8")
        if kind == ARRAY:
            element, n = scalar("<I"), scalar("<Q")
            return [value(element) for _ in range(n)]
        return scalar(SCALARS[kind])

    assert raw[:4] == b"GGUF"
    at = 4
    assert scalar("<I") == 3
    n_tensors, n_keys = scalar("<Q"), scalar("<Q")
    keys, infos, tensors = {}, [], {}
    for _ in range(n_keys):
        name = value(STRING)
        keys[name] = value(scalar("<I"))
    for _ in range(n_tensors):
        name = value(STRING)
        dims = [scalar("<Q") for _ in range(scalar("<I"))]
        infos.append((name, dims[::-1], scalar("<I"), scalar("<Q")))
    start = padded(at)
    for name, shape, kind, offset in infos:
        n = int(np.prod(shape))
        decode, block, block_bytes = DECODERS[kind]
        data = raw[start + offset:start + offset + n // block * block_bytes]
        tensors[name] = decode(data, shape)
    return keys, tensors


# ------------------------------------------------------------------------------------------------- Qwen3
def export_qwen3(path, cfg, tensors, tokenizer_json, info):
    """cfg: the sizes (model.Config.as_dict()); tensors: GGUF name -> array; info: general.* texts."""
    with open(tokenizer_json, encoding="utf-8") as f:
        tok = json.load(f)
    vocab = sorted(tok["model"]["vocab"].items(), key=lambda kv: kv[1])
    assert [i for _, i in vocab] == list(range(cfg["vocab"]))
    control = {t["id"] for t in tok["added_tokens"] if t["special"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]]
    ids = {text: i for text, i in vocab}

    w = Writer()
    w.add("general.architecture", STRING, "qwen3")
    w.add("general.type", STRING, "model")
    for key, text in info.items():
        w.add("general." + key, STRING, text)
    w.add("general.file_type", U32, 7)  # mostly Q8_0
    w.add("general.quantization_version", U32, 2)
    w.add("general.alignment", U32, ALIGNMENT)
    w.add("general.sampling.temp", F32_KEY, 0.7)
    w.add("general.sampling.top_k", I32, 40)
    w.add("general.sampling.top_p", F32_KEY, 0.95)
    for key, n in (("block_count", cfg["layers"]), ("context_length", cfg["context"]),
                   ("embedding_length", cfg["dim"]), ("feed_forward_length", cfg["ffn"]),
                   ("attention.head_count", cfg["heads"]), ("attention.head_count_kv", cfg["kv_heads"]),
                   ("attention.key_length", cfg["head_dim"]), ("attention.value_length", cfg["head_dim"]),
                   ("rope.dimension_count", cfg["head_dim"]), ("vocab_size", cfg["vocab"])):
        w.add("qwen3." + key, U32, n)
    w.add("qwen3.attention.layer_norm_rms_epsilon", F32_KEY, cfg["eps"])
    w.add("qwen3.rope.freq_base", F32_KEY, cfg["rope_base"])
    w.add("tokenizer.ggml.model", STRING, "gpt2")
    w.add("tokenizer.ggml.pre", STRING, "qwen2")
    w.add_array("tokenizer.ggml.tokens", STRING, [text for text, _ in vocab])
    w.add_array("tokenizer.ggml.token_type", I32, [3 if i in control else 1 for _, i in vocab])
    w.add_array("tokenizer.ggml.merges", STRING, merges)
    w.add("tokenizer.ggml.eos_token_id", U32, ids["<|im_end|>"])
    w.add("tokenizer.ggml.padding_token_id", U32, ids["<|endoftext|>"])
    w.add("tokenizer.ggml.add_bos_token", BOOL, False)
    w.add("tokenizer.chat_template", STRING, CHAT_TEMPLATE)
    for name, array in tensors.items():
        w.add_tensor(name, array, TYPE_Q8_0 if array.ndim == 2 else TYPE_F32)
    w.write(path)
