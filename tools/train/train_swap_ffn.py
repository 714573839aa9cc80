# SPDX-License-Identifier: Apache-2.0
"""Trains the swap-FFN hybrid and its baseline on the demo corpus, with the same data, order, seeds and number of steps.

  train_swap_ffn.py prepare  --corpus DIR --work DIR --vocabulary MODEL.gguf
  train_swap_ffn.py train    --work DIR --out DIR --size small|full (--seconds S | --steps N)
  train_swap_ffn.py evaluate --work DIR MODEL.pt [--windows N] [--base LOGITS.safetensors] [--trace TRACE.safetensors]

`train` with --seconds measures how long a step of the hybrid takes, which sets the number of steps of both.  It writes
swap-VARIANT-SIZE.pt (for `stretto convert`), -log.json and -log.csv.  `evaluate` computes in float32, without compiling.
"""
import argparse
import csv
import json
import math
import os
import time

import numpy as np
import torch

import data
from model import Muon
from swap_ffn import SwapConfig, SwapModel, Tools, grouped_by_loop, grouped_on_device

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {
    "small": {"config": dict(d_model=256, n_layer=8, n_head=4, n_kv_head=2, d_ff=896), "swap_layers": [4],
              "rows": 32, "embed_lr": 0.003, "weight_decay": 0.3},
    "full": {"config": dict(d_model=1024, n_layer=24, n_head=16, n_kv_head=4, d_ff=4096), "swap_layers": [12],
             "rows": 16, "embed_lr": 0.002, "weight_decay": 0.1},
    "tiny": {"config": dict(d_model=64, n_layer=3, n_head=2, n_kv_head=1, d_ff=128), "swap_layers": [1],
             "rows": 2, "embed_lr": 0.003, "weight_decay": 0.1},
}
VARIANTS = ("hybrid1", "baseline")
# What decides stays in float32; what multiplies is stored as it is used.
MATRICES = ("emb.weight", "head.weight", "qkv.weight", "o.weight", "w1.weight", "w2.weight", "w3.weight", "ffn.w1", "ffn.w2", "ffn.w3")
DECISIONS = ("router_w", "router_b", "switch_w", "switch_b", "read_w", "read_b", "collapse_w", "collapse_b")
ROUTER_STRIDE, BALANCE = 8, 0.03
MUON_LR, NORM_LR, DECISION_LR, EMBED_DECAY = 0.02, 0.003, 0.0003, 0.1
NEAR_TIE = 1e-3


# ---------------------------------------------------------------------------------------------- training
def make_model(size, variant, seed, context):
    torch.manual_seed(seed)
    s = SIZES[size]
    layers = s["swap_layers"] if variant == "hybrid1" else []
    return SwapModel(SwapConfig(context_length=context, swap_layers=list(layers), **s["config"])).to(DEVICE)


def make_optimisers(model, s):
    muon, embed, norms, decisions = [], [], [], []
    for name, p in model.named_parameters():
        if name in ("emb.weight", "head.weight"):
            embed.append(p)
        elif name.endswith(MATRICES):
            muon.append(p)
        else:
            (decisions if name.endswith(DECISIONS) else norms).append(p)
    groups = [{"params": embed, "lr": s["embed_lr"], "weight_decay": EMBED_DECAY},
              {"params": norms, "lr": NORM_LR, "weight_decay": 0.0}]
    if decisions:
        groups.append({"params": decisions, "lr": DECISION_LR, "weight_decay": 0.0})
    fused = {"fused": True} if DEVICE == "cuda" else {}
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, **fused)
    return [Muon(muon, lr=MUON_LR, weight_decay=s["weight_decay"]), adam]


def schedule(step, steps):
    """Linear warm-up over a tenth, at most 100 steps, then half a cosine down to zero."""
    warmup = min(100, max(1, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Trainer:
    def __init__(self, a, tools):
        self.a, self.tools, self.size = a, tools, SIZES[a.size]
        self.rows = a.rows or self.size["rows"]
        self.dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32

    def begin(self, variant):
        a = self.a
        self.model = make_model(a.size, variant, a.seed, a.context)
        self.optimisers = make_optimisers(self.model, self.size)
        self.base = [[g["lr"] for g in o.param_groups] for o in self.optimisers]
        self.batches = data.Batches(os.path.join(a.work, "data.npz"), a.context, self.rows, 32, 0, a.seed, DEVICE)
        self.tools.rng = np.random.default_rng(a.seed)

    def step(self, factor):
        for o, lrs in zip(self.optimisers, self.base):
            for g, lr in zip(o.param_groups, lrs):
                g["lr"] = lr * factor
        x, y = self.batches.long_batch()
        loss, balance = self.model.loss(x, y, self.dtype, self.tools, ROUTER_STRIDE)
        (loss + BALANCE * balance).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for o in self.optimisers:
            o.step()
            o.zero_grad(set_to_none=True)
        return loss.detach()

    def seconds_per_step(self, warm=6, count=8):
        """Of the hybrid, which is the slower one; the first steps compile."""
        self.begin("hybrid1")
        for i in range(warm + count):
            if i == warm:
                if self.a.wait_for:
                    while not os.path.exists(self.a.wait_for):
                        time.sleep(0.05)
                started = now()
            self.step(0.01)
        return (now() - started) / count

    def run(self, variant, steps):
        a = self.a
        self.begin(variant)
        windows = self.heldout_tokens(a.context, min(self.rows, 24))
        n = sum(p.numel() for p in self.model.parameters())
        print(f"{variant} {a.size}: {n} parameters, {self.rows * a.context} tokens a step, {steps} steps, seed {a.seed}", flush=True)
        log, sums, seen, spent, mark = [], 0.0, 0, 0.0, now()
        every = max(1, steps // 25)
        for step in range(steps):
            sums, seen = sums + self.step(schedule(step, steps)), seen + 1
            if (step + 1) % every == 0 or step + 1 == steps:
                spent += now() - mark
                trace = []
                held = mean_loss(self.model, windows, self.dtype, Tools(grouped=self.tools.grouped), trace)
                entry = {"step": step + 1, "tokens": (step + 1) * self.rows * a.context, "train": float(sums) / seen,
                         "heldout": held, "seconds": round(spent, 2), "epochs": self.batches.epochs}
                if trace:
                    entry["bank_shares"] = [[round(float(x), 3) for x in s] for s in trace[0].shares]
                log.append(entry)
                print(json.dumps(entry), flush=True)
                if not math.isfinite(entry["train"]):
                    raise SystemExit("the loss is not finite")
                sums, seen, mark = 0.0, 0, now()
        return {"variant": variant, "size": a.size, "seed": a.seed, "parameters": n, "steps": steps, "tokens_per_step":
                self.rows * a.context, "seconds": round(spent, 1), "log": log}

    def heldout_tokens(self, context, count):
        tokens = torch.from_numpy(self.batches.d["eval"].astype(np.int64))
        count = min(count, len(tokens) // context)
        return tokens[:count * context].view(count, context).to(DEVICE)


def now():
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.time()


@torch.no_grad()
def mean_loss(model, windows, dtype, tools, traces=None):
    """While training: every token but the first of each window, in training precision."""
    logits = model.logits(windows, dtype, tools, traces)
    return float(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten()))


def save(model, path):
    state = {n: (p.to(torch.bfloat16) if n.endswith(MATRICES) else p.float()).detach().cpu().contiguous()
             for n, p in model.state_dict().items()}
    torch.save({"model_state_dict": state, "config": {"model_type": "swap_ffn", **model.c.as_dict()}}, path)


def load(path):
    saved = torch.load(path, map_location="cpu")
    keys = {k: v for k, v in saved["config"].items() if k != "model_type"}
    model = SwapModel(SwapConfig(**keys))
    model.load_state_dict({n: t.float() for n, t in saved["model_state_dict"].items()})
    return model.to(DEVICE)


def train(a):
    os.makedirs(a.out, exist_ok=True)
    on_gpu = DEVICE == "cuda"
    tools = Tools(compiled=bool(a.compile) and on_gpu, grouped=grouped_on_device if on_gpu else grouped_by_loop,
                  through=bool(a.through))
    trainer, started, steps = Trainer(a, tools), time.time(), a.steps
    if not steps:
        each = trainer.seconds_per_step()
        steps = max(20, int(a.seconds / each) // 10 * 10)
        print(f"{each * 1e3:.1f} ms a step of the hybrid, {steps} steps; ready after {time.time() - started:.1f} s", flush=True)
    for variant in VARIANTS:
        result = trainer.run(variant, steps)
        name = os.path.join(a.out, f"swap-{variant}-{a.size}")
        save(trainer.model, name + ".pt")
        with open(name + "-log.json", "w", encoding="utf-8") as f:
            json.dump(result, f)
        with open(name + "-log.csv", "w", encoding="utf-8", newline="") as f:
            keys = ("step", "tokens", "train", "heldout", "seconds", "epochs")
            rows = csv.DictWriter(f, keys, extrasaction="ignore", lineterminator="\n")
            rows.writeheader()
            rows.writerows(result["log"])
        if a.windows:
            evaluate_model(load(name + ".pt"), trainer.heldout_tokens(a.context, a.windows), name)
        print(f"{variant} done after {time.time() - started:.1f} s", flush=True)


# -------------------------------------------------------------------------------------------- evaluation
@torch.no_grad()
def scored(model, windows, dtype=torch.float32, rows=4):
    """Log-probabilities of the second half of each window, as `stretto perplexity` scores it, and the decisions."""
    half, out, traces = windows.shape[1] // 2, [], []
    for part in windows.split(rows):
        t = []
        logits = model.logits(part, dtype, traces=t)[:, half:-1]
        out.append(logits.log_softmax(-1).gather(-1, part[:, half + 1:, None])[..., 0])
        for x in t:
            columns = [torch.stack(x.decisions, -1).float(), torch.stack(x.margins, -1), x.maps[:, None].float()]
            traces.append(torch.cat(columns, -1).view(*part.shape, -1))
    return torch.cat(out), torch.cat(traces) if traces else None


def evaluate_model(model, windows, name, tokens_too=False):
    with torch.no_grad():
        lp, trace = scored(model, windows)
    result = {"model": os.path.basename(name), "windows": len(windows), "n_ctx": windows.shape[1], "tokens": lp.numel(),
              "avg_logprob": float(lp.double().mean()), "standard_error": float(lp.double().std() / lp.numel() ** 0.5)}
    if trace is not None:
        n = model.c.n_events + 1
        least = trace[..., n:2 * n].amin(-1)
        result["near_ties"] = {"below": NEAR_TIE, "positions": int((least < NEAR_TIE).sum()), "of": least.numel()}
    if DEVICE == "cuda":
        low, _ = scored(model, windows, torch.bfloat16)
        result["avg_logprob_bf16"] = float(low.double().mean())
    print(json.dumps(result), flush=True)
    return (result, lp, trace) if tokens_too else result


def read_tensor(path, name):
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        t = json.loads(f.read(size))[name]
    kind = {"F32": "<f4", "I32": "<i4"}[t["dtype"]]
    return torch.from_numpy(np.memmap(path, kind, "c", 8 + size + t["data_offsets"][0], tuple(t["shape"])))


def compare(lp, trace, base, stretto_trace, windows, n_events):
    """Where Stretto's log-probabilities (perplexity --save-base) or decisions (logits --swap-trace) are others."""
    if base:
        half = windows.shape[1] // 2
        assert torch.equal(read_tensor(base, "tokens").long(), windows.cpu()[:len(read_tensor(base, "tokens"))])
        logits, count = read_tensor(base, "logits"), lp.shape[1]
        n = len(logits) // count
        next_ids = windows[:n, half + 1:].cpu()
        theirs = torch.cat([part.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
                            for part, ids in zip(logits.split(count), next_ids)]).view(n, count)
        delta = (theirs - lp[:n].cpu()).double()
        at = delta.abs().argmax()
        print(json.dumps({"stretto_avg_logprob": float(theirs.double().mean()), "mean_difference": float(delta.mean()), "rms_difference":
                          float(delta.pow(2).mean() ** 0.5), "largest": float(delta.abs().max()), "largest_at": [int(at) // count, int(at) % count],
                          "above_1e-3": int((delta.abs() > 1e-3).sum()), "above_1e-2": int((delta.abs() > 1e-2).sum()), "of": delta.numel()}))
    if stretto_trace:
        n = n_events + 1
        theirs = read_tensor(stretto_trace, "trace")
        mine = trace.cpu().flatten(0, 1)[:len(theirs)]
        other = (theirs[:, :n] != mine[:, :n])
        first = other.int().argmax(1)[other.any(1)]
        margins = mine[other.any(1)].gather(1, n + first[:, None])[:, 0]
        tie = mine[:, n:2 * n].amin(1) < NEAR_TIE
        print(json.dumps({"positions": len(theirs), "near_ties": int(tie.sum()), "other_decisions": int(other.any(1).sum()),
                          "of_them_near_ties": int((other.any(1) & tie).sum()), "margins_of_the_first_other_decision": [round(float(m), 6) for m in margins[:12]],
                          "largest_margin_difference": float((theirs[:, n:2 * n] - mine[:, n:2 * n])[~other.any(1)].abs().max())}))


def evaluate(a):
    model = load(a.model)
    tokens = torch.from_numpy(np.load(os.path.join(a.work, "data.npz"))["eval"].astype(np.int64))
    count = min(a.windows or 1 << 30, len(tokens) // a.context)
    windows = tokens[:count * a.context].view(count, a.context).to(DEVICE)
    result, lp, trace = evaluate_model(model, windows, a.model, True)
    if a.base or a.trace:
        compare(lp, trace, a.base, a.trace, windows, model.c.n_events)


def prepare(a):
    from gguf_tokenizer import GgufTokenizer
    data.prepare(a.corpus, a.work, 0, a.seed, GgufTokenizer(a.vocabulary))
    held = np.load(os.path.join(a.work, "data.npz"))["eval"]
    with open(os.path.join(a.work, "eval_tokens.txt"), "w", encoding="ascii") as f:
        f.write(" ".join(map(str, held)) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="command", required=True)
    p, t, e = sub.add_parser("prepare"), sub.add_parser("train"), sub.add_parser("evaluate")
    for s in (p, t, e):
        s.add_argument("--work", required=True, help="data.npz and eval_tokens.txt live here")
        s.add_argument("--seed", type=int, default=1234)
        s.add_argument("--context", type=int, default=1024)
        s.add_argument("--windows", type=int, default=0, help="of the held-out text; 0: all (train: none)")
    p.add_argument("--corpus", required=True)
    p.add_argument("--vocabulary", required=True, help="a GGUF file whose tokenizer is taken")
    t.add_argument("--out", required=True)
    t.add_argument("--size", choices=sorted(SIZES), default="small")
    t.add_argument("--seconds", type=float, default=60)
    t.add_argument("--steps", type=int, default=0)
    t.add_argument("--rows", type=int, default=0)
    t.add_argument("--compile", type=int, default=1)
    t.add_argument("--through", type=int, default=0, help="1: decisions send their soft gradient into the trunk too")
    t.add_argument("--wait-for", help="compile, then wait until this file exists")
    e.add_argument("model")
    e.add_argument("--base", help="logits of `stretto perplexity --save-base` on the same windows")
    e.add_argument("--trace", help="decisions of `stretto logits --swap-trace`")
    a = ap.parse_args()
    {"prepare": prepare, "train": train, "evaluate": evaluate}[a.command](a)


if __name__ == "__main__":
    main()
