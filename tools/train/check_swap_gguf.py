# SPDX-License-Identifier: Apache-2.0
"""What PyTorch computes from the shipped swap-FFN files: the expected values of tests/engine/swap_models_test.cpp.

  check_swap_gguf.py EXPECTED.json MODEL.gguf...

The weights are the dequantised ones, the arithmetic float32: log-probability of a text written for this, greedy
continuations with the gap between best and second logit at each step, and every decision of the swap layer with its margin.
"""
import json
import os
import sys

import numpy as np
import torch

from gguf_export import read_gguf
from gguf_tokenizer import GgufTokenizer
from swap_ffn import SwapConfig, SwapModel

TEXT = """The miller's youngest daughter kept a brown hen that laid no eggs. "Sell her," said the neighbours, "for she eats your corn \
and gives you nothing." But the girl would not sell her. Every evening she carried the hen home under her coat, because the nights \
were cold and the fox lived in the wood behind the mill.

One winter the river froze and the wheel stood still. There was no flour in the house and no wood by the fire. Then the hen \
began to scratch at the foot of the old wall. She scratched all day and all night, until a stone fell down, and behind the stone \
lay a little box. "What have you found?" asked the girl. In the box there were seven silver spoons and a letter from her grandmother.

They sold one spoon and bought bread, and the other six they kept. In the spring the ice went away, the wheel turned round again, \
and nobody ever said another word about the hen."""
PROMPTS = ["Once upon a time", "The king said to his daughter", "\"Who are you?\" asked the fox"]
GREEDY = 24
DENSE = {"attn_norm.weight": "n1", "ffn_norm.weight": "n2", "attn_output.weight": "o.weight", "ffn_gate.weight": "w1.weight",
         "ffn_up.weight": "w3.weight", "ffn_down.weight": "w2.weight"}
SWAP = {"w1.weight": "w1", "w2.weight": "w2", "w3.weight": "w3", "event_norm.weight": "event_norm", "collapse_norm.weight":
        "collapse_norm", "router.weight": "router_w", "router.bias": "router_b", "switch.weight": "switch_w", "switch.bias": "switch_b",
        "read.weight": "read_w", "read.bias": "read_b", "collapse.weight": "collapse_w", "collapse.bias": "collapse_b"}
GLOBAL = {"token_embd.weight": "emb.weight", "output_norm.weight": "nf", "output.weight": "head.weight"}


def load(path):
    keys, tensors = read_gguf(path)
    k = lambda name: keys["swapffn." + name]
    c = SwapConfig(vocab_size=k("vocab_size"), d_model=k("embedding_length"), n_layer=k("block_count"), d_ff=k("feed_forward_length"),
                   n_head=k("attention.head_count"), n_kv_head=k("attention.head_count_kv"), context_length=k("context_length"),
                   rms_eps=k("attention.layer_norm_rms_epsilon"), rope_theta=k("rope.freq_base"), swap_layers=k("swap.layers"))
    if c.swap_layers:
        c.n_banks, c.n_events, c.k_ffn = k("swap.n_banks"), k("swap.n_events"), k("swap.k_ffn")
    state, qkv = {}, {}
    for name, array in tensors.items():
        if not name.startswith("blk."):
            state[GLOBAL[name]] = array
            continue
        _, layer, part = name.split(".", 2)
        if part in ("attn_q.weight", "attn_k.weight", "attn_v.weight"):
            qkv.setdefault(layer, {})[part[5]] = array
        elif part.startswith("swap_"):
            state[f"blocks.{layer}.ffn.{SWAP[part[5:]]}"] = array
        else:
            state[f"blocks.{layer}.{DENSE[part]}"] = array
    for layer, parts in qkv.items():
        state[f"blocks.{layer}.qkv.weight"] = np.concatenate([parts[x] for x in "qkv"])
    model = SwapModel(c)
    model.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in state.items()})
    return model


def greedy(model, ids):
    ids, new, gaps = list(ids), [], []
    for _ in range(GREEDY):
        best = model.logits(torch.tensor([ids]))[0, -1].topk(2)
        gaps.append(round(float(best.values[0] - best.values[1]), 5))
        new.append(int(best.indices[0]))
        ids.append(new[-1])
    return new, gaps


def expected(path):
    model, tokenizer, traces = load(path), GgufTokenizer(path), []
    ids = tokenizer.encode(TEXT).ids
    logits = model.logits(torch.tensor([ids]), traces=traces)[0]
    lp = logits[:-1].double().log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])
    out = {"file": os.path.basename(path), "parameters": sum(p.numel() for p in model.parameters()), "ids": ids,
           "avg_logprob": float(lp.mean()), "prompts": []}
    for text in PROMPTS:
        prompt = tokenizer.encode(text).ids
        new, gaps = greedy(model, prompt)
        out["prompts"].append({"text": text, "ids": prompt, "greedy": new, "gaps": gaps, "greedy_text": tokenizer.decode(new)})
        print(repr(text), "->", repr(tokenizer.decode(new)), "smallest gap", min(gaps))
    if traces:
        out["decisions"] = torch.stack(traces[0].decisions, 1).tolist()
        out["margins"] = [[round(float(m), 5) for m in row] for row in torch.stack(traces[0].margins, 1)]
        out["maps"] = traces[0].maps.tolist()
    print(out["file"], out["parameters"], "parameters,", len(ids), "tokens, avg_logprob", out["avg_logprob"], flush=True)
    return out


def main():
    result = {"text": TEXT, "note": "PyTorch, float32, dequantised weights; tools/train/check_swap_gguf.py",
              "models": [expected(p) for p in sys.argv[2:]]}
    with open(sys.argv[1], "w", encoding="ascii") as f:
        json.dump(result, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
