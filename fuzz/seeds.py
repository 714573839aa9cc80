#!/usr/bin/env python3
"""Write the seed inputs of the fuzz targets, one file each, below DIRECTORY/<target>/, from tests/data.

    seeds.py DIRECTORY
"""
import base64
import io
import json
import struct
import sys
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
MAX_BYTES = 65536


def gguf():
    for path in (DATA / "gguf_cases").glob("*.gguf"):
        yield path.stem, path.read_bytes()


def safetensors():
    for case in json.loads((DATA / "container_cases.json").read_text())["cases"]:
        if case["kind"] == "safetensors":
            yield case["name"], bytes.fromhex(case["hex"])


def pt():
    for case in json.loads((DATA / "container_cases.json").read_text())["cases"]:
        if case["kind"] == "pt":
            yield case["name"], bytes.fromhex(case["hex"])


def pickle():
    files = list(pt()) + [(path.stem, path.read_bytes()) for path in (DATA / "pt").glob("*.pt")]
    for name, data in files:
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
            member = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            yield name, archive.read(member)
        except (zipfile.BadZipFile, StopIteration):  # meant to be no archive
            continue


def config():
    for path in (DATA / "hf_ref").glob("*.json"):
        yield path.stem, json.dumps(json.loads(path.read_text())["config"]).encode()
    yield "constants", b'{"a":[0.0,Infinity,-Infinity,NaN],"b":{"__float__":"NaN"},"c":1000000000000000019884624838656}'


def jinja():
    yield "chat", (b"{{- bos_token }}{%- for m in messages %}{%- if m.role == 'user' and m.content is not string %}"
                   b"{{- m['content'][0].text | trim ~ loop.index0 }}{%- elif m.tool_calls %}"
                   b"{{- m.tool_calls[0].function.arguments | tojson(indent=2) }}{%- else %}{{ m.content }}"
                   b"{%- endif %}{%- endfor %}{% if add_generation_prompt %}{{ eos_token }}{% endif %}")
    yield "macro", (b"{% macro g(x, y={'k': (2,)}) %}{{ x ~ y.k ~ caller(1) }}{% endmacro %}"
                    b"{% call(a) g(1) %}{% set ns = namespace(n=0) %}{% set ns.n = -7 // 2 ** 3 %}{{ a if ns.n }}{% endcall %}")
    yield "blocks", (b"{% set t | upper %}a{% endset %}{% filter indent(2) %}b\n{% endfilter %}{% raw %}{{{% endraw %}{#- c -#}"
                     b"{% for k, v in messages[1:] | groupby('role') recursive %}{{ loop(v) if 0 }}{% break %}{% else %}{% endfor %}")
    yield "methods", (b"{{ 'a-b'.split('-', 1)[::-1] | map('title') | sort(reverse=true) | join(', ') }}{{ '{:>5.2f}'.format(2.5) }}"
                      b"{{ dict(a=1).items() | list | selectattr(0, 'in', ['a']) | first | default('x', true) }}"
                      b"{{ range(1, 9, 3) | batch(2, none) | list }}{{ '[1, {}]' | from_json | string | replace('1', '\\u00e9') }}")


def protobuf(field, value):
    """One field: a number, a float, or a length and bytes."""
    def varint(n):
        out = b""
        while n >= 128:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])
    if isinstance(value, float):
        return varint(field << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(field << 3) + varint(value)
    return varint(field << 3 | 2) + varint(len(value)) + value


def tokenizer_model():
    tokens = [(b"<unk>", 2), (b"<s>", 3), (b"</s>", 3), (b"l", 1), (b"o", 1), (b"\xe2\x96\x81", 1), (b"lo", 1), (b"<m>", 4)]
    pieces = b"".join(protobuf(1, protobuf(1, text) + protobuf(2, -float(i)) + protobuf(3, kind))
                      for i, (text, kind) in enumerate(tokens))
    byte_pieces = b"".join(protobuf(1, protobuf(1, b"<0x%02X>" % i) + protobuf(3, 6)) for i in range(256))
    normalizer = protobuf(3, protobuf(1, b"identity") + protobuf(3, 1) + protobuf(4, 0) + protobuf(5, 1))
    yield "plain", pieces + protobuf(2, protobuf(3, 2)) + normalizer
    yield "collapse", pieces + protobuf(2, protobuf(3, 2) + protobuf(41, 1)) + protobuf(3, b"")
    yield "bytes", pieces + byte_pieces + protobuf(2, protobuf(3, 2) + protobuf(35, 1)) + normalizer
    yield "tiktoken", b"IQ== 0\nIg== 1\n"
    vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode()}
             for i, t in enumerate([bytes([b]) for b in range(256)] + [b"lo", b"ll"])]
    config = {"pattern": "\\s?\\p{L}+|\\s+|[^\\s\\p{L}]", "default_vocab_size": 278, "default_num_special_tokens": 20}
    yield "tekken", json.dumps({"config": config, "vocab": vocab}).encode()


SEEDS = {"tokenizer_model": tokenizer_model, "jinja": jinja, "gguf": gguf, "safetensors": safetensors, "config": config,
         "pickle": pickle, "pt": pt}


def main():
    root = Path(sys.argv[1])
    for target, seeds in SEEDS.items():
        directory = root / target
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            if len(data) <= MAX_BYTES:
                (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
