# SPDX-License-Identifier: Apache-2.0
"""Trains Stretto's demo model and writes it as GGUF.

  train_demo.py prepare  --corpus DIR --work DIR
  train_demo.py train    --work DIR --out DIR --steps N [--teacher WEIGHTS ...]
  train_demo.py evaluate --work DIR --out DIR --model FILE.gguf

`train` ends with an export and with `evaluate` on the exported file.  See README.md beside this file.
"""
import argparse
import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F

import data
from gguf_export import export_qwen3, read_gguf
from model import Config, Model, gguf_tensors, load_gguf_tensors, make_optimisers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FRANCE = ["What is the capital of France?", "what is the capital of france", "What is the capital of France",
          "what is the capital of france?", "Whats the capital of france?", "What's the capital city of France?",
          "capital of France", "Which city is France's capital?", "Hi, what is the capital of France?",
          "Could you please tell me what the capital of France is?"]
STORY_PROMPTS = ["Once upon a time", "There was once a little fox who lived", "The old king had three sons."]
STORY_REQUESTS = ["Tell me a story.", "Tell me a story about a little bird.", "Write a short story about a dragon."]


# ------------------------------------------------------------------------------------------------ losses
def make_loss(model):
    """Mean cross entropy; with teacher probabilities the targets become a mixture of both."""
    def loss(ids, targets, teacher, share):
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = model(ids)
        logits = logits.float()
        hard = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
        if teacher is None:
            return hard
        soft = -(teacher.float() * F.log_softmax(logits, -1)).sum(-1).mean()
        return (1 - share) * hard + share * soft
    return loss


def teacher_probabilities(teachers, ids):
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        total = 0
        for t in teachers:
            total = total + F.softmax(t(ids).float(), -1)
        return (total / len(teachers)).bfloat16()


@torch.no_grad()
def heldout_loss(model, windows, rows=16):
    """Mean negative log likelihood per held-back token, in nats, without dropout."""
    model.eval()
    x, y = windows
    total = count = 0.0
    for i in range(0, len(x), rows):
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = model(x[i:i + rows])
        total += F.cross_entropy(logits.float().flatten(0, 1), y[i:i + rows].flatten(), ignore_index=-1, reduction="sum")
        count += (y[i:i + rows] >= 0).sum()
    model.train()
    return float(total / count)


# -------------------------------------------------------------------------------------------- generation
@torch.no_grad()
def generate(model, prompts, limit, temperature=0.0, top_k=40, seed=0):
    """Plain batched generation without a cache: fine for a small model and a short text."""
    model.eval()
    generator = torch.Generator(DEVICE).manual_seed(seed)
    length = max(map(len, prompts)) + limit
    ids = torch.zeros(len(prompts), length, dtype=torch.int64, device=DEVICE)
    for i, p in enumerate(prompts):
        ids[i, :len(p)] = torch.tensor(p)
    at = torch.tensor([len(p) for p in prompts], device=DEVICE)
    row = torch.arange(len(prompts), device=DEVICE)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=DEVICE)
    for _ in range(limit):
        # Rows are padded on the right, which a causal model does not see.
        logits = model(ids[:, :int(at.max())])[row, at - 1].float()
        if temperature:
            logits /= temperature
            logits[logits < logits.topk(top_k).values[:, -1:]] = -math.inf
            new = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        else:
            new = logits.argmax(-1)
        new = torch.where(done, 0, new)
        ids[row, at] = new
        at = at + 1
        done |= (new == 0) | (new == 2)
        if bool(done.all()):
            break
    model.train()
    out = []
    for i, p in enumerate(prompts):
        tail = ids[i, len(p):].tolist()
        ends = [n for n, t in enumerate(tail) if t in (0, 2)]
        out.append(tail[:ends[0]] if ends else tail)
    return out


def ask(model, tokenizer, questions, limit=128, **options):
    prompts = [tokenizer.encode(f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n").ids for q in questions]
    return [tokenizer.decode(ids) for ids in generate(model, prompts, limit, **options)]


def probe_facts(model, tokenizer, path, most=600):
    """Share of questions answered with exactly the stored answer, greedy."""
    with open(path, encoding="utf-8") as f:
        probe = json.load(f)
    result = {}
    for name, pairs in probe.items():
        pairs = pairs[:most]
        answers = ask(model, tokenizer, [q for q, _ in pairs])
        result[name] = sum(a.strip() == b for a, (_, b) in zip(answers, pairs)) / len(pairs)
        wrong = [(q, a, b) for a, (q, b) in zip(answers, pairs) if a.strip() != b]
        for q, a, b in random.Random(0).sample(wrong, min(4, len(wrong))):
            print(f"  {name} miss: {q!r} -> {a!r} (stored {b!r})")
    return result


def show(model, tokenizer, path, stories=True):
    result = {"facts": probe_facts(model, tokenizer, path), "france": dict(zip(FRANCE, ask(model, tokenizer, FRANCE)))}
    print("facts answered exactly:", result["facts"])
    for q, a in result["france"].items():
        print(f"  {q} -> {a}")
    if stories:
        starts = [tokenizer.encode(p).ids for p in STORY_PROMPTS]
        texts = generate(model, starts, 160, temperature=0.7)
        result["stories"] = {p: tokenizer.decode(t) for p, t in zip(STORY_PROMPTS, texts)}
        result["requests"] = dict(zip(STORY_REQUESTS, ask(model, tokenizer, STORY_REQUESTS, 250, temperature=0.7)))
        for p, t in [*result["stories"].items(), *result["requests"].items()]:
            print(f"--- {p}\n{t}")
    return result


# ---------------------------------------------------------------------------------------------- training
def schedule(step, steps, warmup=100):
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save_weights(model, path):
    torch.save({"config": model.c.as_dict(), "weights": {k: v.bfloat16() for k, v in model.state_dict().items()}}, path)


def load_weights(path):
    saved = torch.load(path, map_location=DEVICE)
    model = Model(Config(**saved["config"])).to(DEVICE)
    model.load_state_dict(saved["weights"])
    return model


def train(a):
    random.seed(a.seed)
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    os.makedirs(a.out, exist_ok=True)
    cfg = Config(vocab=a.vocab, dim=a.dim, layers=a.layers, heads=a.heads, kv_heads=a.kv_heads, head_dim=a.head_dim,
                 ffn=a.ffn, context=a.context, dropout=a.dropout)
    model = Model(cfg).to(DEVICE)
    optimisers = make_optimisers(model, a.lr, a.embed_lr, a.weight_decay, a.embed_decay)
    base = [[g["lr"] for g in o.param_groups] for o in optimisers]
    batches = data.Batches(os.path.join(a.work, "data.npz"), a.context, a.long_rows, a.chat_length, a.chat_rows, a.seed, DEVICE)
    windows = batches.eval_windows()
    teachers = []
    for path in a.teacher:
        t = load_weights(path).eval()
        t.requires_grad_(False)
        print(f"teacher {path}: held-out {heldout_loss(t, windows):.4f}")
        teachers.append(t.eval())  # measuring put it back into training mode
    loss_fn, teach = make_loss(model), teacher_probabilities
    if a.compile:
        loss_fn = torch.compile(loss_fn, dynamic=False)
        teach = torch.compile(teach, dynamic=False)

    log = []
    n = sum(p.numel() for p in model.parameters())
    per_step = a.long_rows * a.context + a.chat_rows * a.chat_length
    print(f"{n} parameters, {per_step} tokens a step, {a.steps} steps, {vars(a)}", flush=True)
    started, mark, seen, sums = time.time(), None, 0, torch.zeros(2, device=DEVICE)
    for step in range(a.steps):
        factor = schedule(step, a.steps)
        for o, lrs in zip(optimisers, base):
            for g, lr in zip(o.param_groups, lrs):
                g["lr"] = lr * factor
        x, y = batches.long_batch()
        long_loss = loss_fn(x, y, teach(teachers, x) if teachers else None, a.teacher_share)
        long_loss.backward()
        x, y = batches.chat_batch()
        chat_loss = loss_fn(x, y, None, 0.0)
        (a.chat_weight * chat_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimisers:
            o.step()
            o.zero_grad(set_to_none=True)
        sums += torch.stack([long_loss.detach(), chat_loss.detach()])
        seen += 1
        if step == 10:  # after the compiler is done
            torch.cuda.synchronize() if DEVICE == "cuda" else None
            mark = (time.time(), step)
        last = step + 1 == a.steps
        if (step + 1) % a.log_every == 0 or last:
            held = heldout_loss(model, windows)
            speed = (step - mark[1]) * per_step / (time.time() - mark[0]) if mark else 0.0
            entry = {"step": step + 1, "train": float(sums[0]) / seen, "chat": float(sums[1]) / seen, "heldout": held,
                     "epochs": batches.epochs, "seconds": round(time.time() - started, 1), "tokens_per_second": round(speed)}
            log.append(entry)
            sums.zero_()
            seen = 0
            print(json.dumps(entry), flush=True)
            if not math.isfinite(entry["train"]):
                raise SystemExit("the loss is not finite")
    with open(os.path.join(a.out, a.name + "-log.json"), "w", encoding="utf-8") as f:
        json.dump({"arguments": vars(a), "parameters": n, "tokens_per_step": per_step, "log": log}, f, indent=1)
    # The bf16 weights are what --teacher reads; the GGUF is the product.
    save_weights(model, os.path.join(a.out, a.name + ".pt"))
    a.model = os.path.join(a.out, a.name + ".gguf")
    export_qwen3(a.model, cfg.as_dict(), gguf_tensors(model), os.path.join(a.work, "tokenizer.json"),
                 {"name": "Stretto demo", "license": "apache-2.0",
                  "description": "Small story and simple-question model for demonstrations, trained from scratch."})
    evaluate(a)


# -------------------------------------------------------------------------------------------- evaluation
def load_gguf(path):
    keys, tensors = read_gguf(path)
    k = lambda name: keys["qwen3." + name]
    model = Model(Config(vocab=k("vocab_size"), dim=k("embedding_length"), layers=k("block_count"),
                         heads=k("attention.head_count"), kv_heads=k("attention.head_count_kv"),
                         head_dim=k("attention.key_length"), ffn=k("feed_forward_length"), context=k("context_length"),
                         rope_base=k("rope.freq_base"), eps=k("attention.layer_norm_rms_epsilon"), dropout=0.0)).to(DEVICE)
    load_gguf_tensors(model, tensors)
    return model


def evaluate(a):
    """Measures the file that was written (dequantised Q8_0), not the weights in memory."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(a.work, "tokenizer.json"))
    model = load_gguf(a.model)
    batches = data.Batches(os.path.join(a.work, "data.npz"), model.c.context, 1, 32, 1, 0, DEVICE)
    loss, size = heldout_loss(model, batches.eval_windows()), os.path.getsize(a.model)
    tokens, words = len(batches.d["eval"]) - 1, int(batches.d["eval_words"])
    result = {"bytes": size, "heldout": loss, "tokens": tokens, "words": words, "perplexity_token": math.exp(loss),
              "perplexity_word": math.exp(loss * tokens / words)}
    print(json.dumps(result), flush=True)
    if size > 16 << 20:
        print("larger than 16 MiB: not for the repository")
    result.update(show(model, tokenizer, os.path.join(a.work, "probe.json"), a.stories))
    with open(os.path.join(a.out, a.name + "-eval.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)


def arguments():
    ap = argparse.ArgumentParser()
    sub = ap.add_subparsers(dest="command", required=True)
    p = sub.add_parser("prepare")
    p.add_argument("--corpus", required=True)
    t = sub.add_parser("train")
    e = sub.add_parser("evaluate")
    e.add_argument("--model", required=True)
    for s in (p, t, e):
        s.add_argument("--work", required=True, help="tokenizer.json, data.npz and probe.json live here")
        s.add_argument("--vocab", type=int, default=4096)
        s.add_argument("--seed", type=int, default=1234)
    for s in (t, e):
        s.add_argument("--out", required=True)
        s.add_argument("--name", default="stretto-demo")
        s.add_argument("--stories", type=int, default=1, help="also print sample stories at the end")
    for name, value in (("steps", 3000), ("dim", 512), ("layers", 6), ("heads", 8), ("kv-heads", 2), ("head-dim", 64),
                        ("ffn", 1024), ("context", 1024), ("long-rows", 64), ("chat-rows", 64), ("chat-length", 384),
                        ("log-every", 200), ("compile", 1)):
        t.add_argument("--" + name, type=int, default=value)
    for name, value in (("lr", 0.02), ("embed-lr", 0.003), ("weight-decay", 0.1), ("embed-decay", 0.1), ("dropout", 0.1),
                        ("chat-weight", 0.3), ("teacher-share", 0.7)):
        t.add_argument("--" + name, type=float, default=value)
    t.add_argument("--teacher", action="append", default=[], help="weights (.pt) to distil from; may be given again")
    return ap.parse_args()


def main():
    a = arguments()
    if a.command == "prepare":
        data.prepare(a.corpus, a.work, a.vocab, a.seed)
    elif a.command == "train":
        train(a)
    else:
        os.makedirs(a.out, exist_ok=True)
        evaluate(a)


if __name__ == "__main__":
    main()
