#!/usr/bin/env python3
"""Generate the reference models that the tests read.

    make_refs.py OUTDIR [--all]

Writes OUTDIR/hf/<name>/{config.json,model.safetensors,expected.safetensors} from tests/data/hf_ref/<name>.json and
OUTDIR/gguf/<name>.gguf from tests/data/gguf_ref/index.json, whose sha256 each file must have. A model that is already
there is kept: its stamp holds the hash of everything it was made from. Needs numpy.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# The families whose tests exist; a new architecture adds its names here. --all makes every one that has a manifest.
HF_MODELS = ["llama", "mistral", "qwen3", "qwen3_moe", "swap_ffn_baseline", "swap_ffn_hybrid", "swap_ffn_carried"]
GGUF_FAMILIES = ["llama", "qwen3", "qwen3moe"]

TOOLS = Path(__file__).resolve().parent
DATA = TOOLS.parent / "data"


def sha256(*paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(target, stamp, recipe):
    return target.exists() and stamp.exists() and stamp.read_text() == recipe


def run(*command):
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def make_hf(name, out):
    """One Hugging Face folder from its manifest; returns whether it had to be made."""
    manifest = DATA / "hf_ref" / f"{name}.json"
    expected = manifest.with_suffix(".expected.safetensors")
    recipe = sha256(TOOLS / "mkref.py", manifest, expected)
    folder, stamp = out / "hf" / name, out / "hf" / f"{name}.stamp"
    if is_current(folder / "model.safetensors", stamp, recipe):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run(TOOLS / "mkref.py", manifest, folder)
    stamp.write_text(recipe)
    return True


def make_gguf(name, entry, out):
    """One GGUF file by the command recorded in the index; returns whether it had to be made."""
    script, *arguments = entry["command"].split()
    if script != "mkgguf.py" or f"{name}.gguf" not in arguments:
        sys.exit(f"error: gguf_ref/index.json: {name}: unexpected command: {entry['command']}")
    target, stamp = out / "gguf" / f"{name}.gguf", out / "gguf" / f"{name}.stamp"
    recipe = sha256(TOOLS / "mkgguf.py") + entry["command"] + entry["sha256"]
    if is_current(target, stamp, recipe):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    run(TOOLS / script, *(partial if a == f"{name}.gguf" else a for a in arguments))
    found = sha256(partial)
    if found != entry["sha256"]:
        sys.exit(f"error: {name}.gguf: sha256 {found}, index.json says {entry['sha256']} (mkgguf.py or numpy changed?)")
    os.replace(partial, target)
    stamp.write_text(recipe)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--all", action="store_true", help="every manifest, not only the families with tests")
    options = parser.parse_args()

    index = json.loads((DATA / "gguf_ref" / "index.json").read_text())
    hf = sorted(p.stem for p in (DATA / "hf_ref").glob("*.json")) if options.all else HF_MODELS
    gguf = {name: entry for name, entry in index.items() if options.all or name.split(".")[0] in GGUF_FAMILIES}
    made = sum([make_hf(name, options.outdir) for name in hf])
    made += sum([make_gguf(name, entry, options.outdir) for name, entry in gguf.items()])
    print(f"reference models: {len(hf)} folders, {len(gguf)} GGUF files, {made} made now, in {options.outdir}")


if __name__ == "__main__":
    main()
