#!/usr/bin/env python3
"""Write the seed inputs of the fuzz targets, one file each, below DIRECTORY/<target>/, from tests/data.

    seeds.py DIRECTORY
"""
import json
import sys
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


SEEDS = {"jinja": jinja, "gguf": gguf, "safetensors": safetensors, "config": config}


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
