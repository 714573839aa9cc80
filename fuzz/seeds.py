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


SEEDS = {"gguf": gguf, "safetensors": safetensors, "config": config}


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
