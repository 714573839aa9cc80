# SPDX-License-Identifier: Apache-2.0
"""Corpus -> tokenizer and token arrays for the demo model.

Input is the corpus folder (prose.txt.xz, prose_ccby.txt.xz, prose_index.tsv.xz, stories_simple.txt.xz,
stories_chat.jsonl, facts.jsonl, eval_prose.txt).  Output, in a work folder: tokenizer.json and data.npz.
"""
import csv
import io
import json
import lzma
import os
import random

import numpy as np

EOT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = [EOT, IM_START, IM_END]  # they get the ids 0, 1, 2
# The GGUF says `tokenizer.ggml.pre = qwen2`, so the merges must be learnt behind exactly that split.
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
EXCLUDED_RIGHTS = {"PD-US-late-author"}
SYSTEM_TEXTS = ["You are a helpful assistant.", "You are a friendly assistant.",
                "You answer simple questions and tell short stories."]


# ---------------------------------------------------------------------------------------------- reading
def read_text(path):
    if path.endswith(".xz"):
        with lzma.open(path, "rt", encoding="utf-8") as f:
            return f.read()
    with open(path, encoding="utf-8") as f:
        return f.read()


def split_documents(text):
    """Every document ends with a line that holds only the end-of-text mark."""
    docs = [d.strip("\n") for d in text.split(EOT + "\n")]
    return docs[:-1] if docs and not docs[-1].strip() else docs


def read_rights(corpus):
    """{file: [rights class of document 0, 1, ...]}"""
    rows = csv.DictReader(io.StringIO(read_text(os.path.join(corpus, "prose_index.tsv.xz"))),
                          delimiter="\t", quoting=csv.QUOTE_NONE)
    rights = {}
    for row in rows:
        rights.setdefault(row["file"].removesuffix(".xz"), {})[int(row["n"])] = row["rights"]
    return {name: [by_n[i] for i in range(len(by_n))] for name, by_n in rights.items()}


def read_jsonl(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def shingles(text, n=12):
    words = text.lower().split()
    return {hash(" ".join(words[i:i + n])) for i in range(len(words) - n + 1)}


def load_corpus(corpus, seed):
    """Returns a dict of plain-text lists, already filtered by rights and by the held-out rule."""
    path = lambda name: os.path.join(corpus, name)
    rights = read_rights(corpus)
    prose_all = split_documents(read_text(path("prose.txt.xz")))
    ccby = split_documents(read_text(path("prose_ccby.txt.xz")))
    assert len(prose_all) == len(rights["prose.txt"]) and len(ccby) == len(rights["prose_ccby.txt"])
    prose = [d for d, r in zip(prose_all, rights["prose.txt"]) if r not in EXCLUDED_RIGHTS]
    late = [d for d, r in zip(prose_all, rights["prose.txt"]) if r in EXCLUDED_RIGHTS]
    evaluation = split_documents(read_text(path("eval_prose.txt")))

    # The chat stories name no rights class of their own.  Some are fables out of the prose, so drop any
    # that shares a run of words with an excluded or a held-back document.
    forbidden = set()
    for doc in late + evaluation:
        forbidden |= shingles(doc)
    chat_all = read_jsonl(path("stories_chat.jsonl"))
    chat = [s for s in chat_all if not (shingles(s["a"]) & forbidden)]
    eval_shingles = set()
    for doc in evaluation:
        eval_shingles |= shingles(doc)
    clean = [d for d in prose if not (shingles(d) & eval_shingles)]

    facts = read_jsonl(path("facts.jsonl"))
    questions = [f for f in facts if "q" in f]
    rng = random.Random(seed)
    # Held-back wordings, to measure answers to questions that were never seen word for word.
    held = set(rng.sample(range(len(questions)), len(questions) // 50))
    result = {
        "prose": clean, "ccby": ccby, "eval": evaluation,
        "simple": split_documents(read_text(path("stories_simple.txt.xz"))),
        "chat": chat,
        "statements": [f["text"] for f in facts if "text" in f],
        "facts": [f for i, f in enumerate(questions) if i not in held],
        "facts_held": [f for i, f in enumerate(questions) if i in held],
    }
    words = lambda docs: sum(len(d.split()) for d in docs)
    print(f"prose {len(clean)} documents, {words(clean)} words (left out: {len(late)} by rights class, "
          f"{len(prose) - len(clean)} for sharing 12 words in a row with a held-back document); "
          f"CC BY {len(ccby)}, {words(ccby)}; "
          f"simple {len(result['simple'])}, {words(result['simple'])}; chat stories {len(chat)} of {len(chat_all)}; "
          f"questions {len(result['facts'])} + {len(held)} held back; statements {len(result['statements'])}; "
          f"eval {len(evaluation)}, {words(evaluation)} words", flush=True)
    return result


# -------------------------------------------------------------------------------------------- tokenizer
def train_tokenizer(texts, vocab_size, path):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == vocab_size
    assert [tokenizer.token_to_id(s) for s in SPECIALS] == [0, 1, 2]
    tokenizer.save(path)
    return tokenizer


# ---------------------------------------------------------------------------------------------- encoding
def flatten(arrays):
    """List of 1-D arrays -> (all values, start offsets); npz has no ragged arrays."""
    offsets = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([len(a) for a in arrays], out=offsets[1:])
    return np.concatenate(arrays).astype(np.int16), offsets


def encode_all(tokenizer, texts):
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def vary_question(q, rng):
    """People type questions in small letters and without a question mark; facts.jsonl mostly does not."""
    kind = rng.randrange(3)
    if kind != 1:
        q = q.rstrip("?!. ")
    return q if kind == 0 else q.lower()


def encode_turns(tokenizer, pairs):
    """(question, answer) pairs -> ragged ids of whole ChatML turns and the index where the answer starts."""
    newline = tokenizer.encode("\n").ids
    user = encode_all(tokenizer, ("user\n" + q for q, _ in pairs))
    # The line break before the answer is a piece of its own in the qwen2 split, so this equals what the
    # rendered chat template gives.
    reply = encode_all(tokenizer, ("assistant\n" + a for _, a in pairs))
    head = len(tokenizer.encode("assistant\n").ids)
    ids, starts = [], []
    for u, r in zip(user, reply):
        ids.append([1] + u + [2] + newline + [1] + r + [2] + newline)
        starts.append(len(u) + 3 + len(newline) + head)
    flat, offsets = flatten(ids)
    return flat, offsets, np.array(starts, np.int32)


def prepare(corpus, work, vocab_size, seed, tokenizer=None):
    """Without a tokenizer one is learnt from the corpus."""
    os.makedirs(work, exist_ok=True)
    texts = load_corpus(corpus, seed)
    rng = random.Random(seed + 1)
    fact_pairs = [(f["q"], f["a"]) for f in texts["facts"]]
    # The asked wording counts double: once as written and once in a careless spelling.
    fact_pairs += [(vary_question(q, rng), a) for q, a in fact_pairs]
    story_pairs = [(s["q"], s["a"]) for s in texts["chat"]]
    # The template stories repeat the same sentences; a sample is enough for the merges.
    training_text = (texts["prose"] + texts["ccby"] + texts["simple"][::6] + texts["statements"]
                     + [q + "\n" + a for q, a in fact_pairs[::3]])
    tokenizer = tokenizer or train_tokenizer(training_text, vocab_size, os.path.join(work, "tokenizer.json"))
    arrays = {}
    for name in ("prose", "ccby", "simple", "statements", "eval"):
        docs = [ids + [0] for ids in encode_all(tokenizer, texts[name])]
        arrays[name], arrays[name + "_off"] = flatten(docs)
    for name, pairs in (("facts", fact_pairs), ("chat", story_pairs)):
        arrays[name], arrays[name + "_off"], arrays[name + "_ans"] = encode_turns(tokenizer, pairs)
    system = [[1] + tokenizer.encode("system\n" + s).ids + [2] + tokenizer.encode("\n").ids for s in SYSTEM_TEXTS]
    arrays["system"], arrays["system_off"] = flatten(system)
    arrays["eval_words"] = np.array(sum(len(d.split()) for d in texts["eval"]))
    np.savez_compressed(os.path.join(work, "data.npz"), **arrays)
    probe = {"held": [(f["q"], f["a"]) for f in texts["facts_held"]],
             "seen": random.Random(seed + 2).sample(fact_pairs[:len(texts["facts"])], 600)}
    with open(os.path.join(work, "probe.json"), "w", encoding="utf-8") as f:
        json.dump(probe, f)
    print("tokens:", {n: int(len(arrays[n])) for n in ("prose", "ccby", "simple", "statements", "eval", "facts", "chat")})
    print("chat story turn length: median %d, max %d" % (np.median(np.diff(arrays["chat_off"])),
                                                       np.diff(arrays["chat_off"]).max()), flush=True)


# ----------------------------------------------------------------------------------------------- batches
class Batches:
    """Two kinds of rows: long windows of shuffled documents, and shorter conversations from position 0 on."""

    def __init__(self, path, context, long_rows, chat_length, chat_rows, seed, device):
        self.d = dict(np.load(path))
        self.context, self.long_rows = context, long_rows
        self.chat_length, self.chat_rows = chat_length, chat_rows
        self.rng = np.random.default_rng(seed)
        self.device = device
        self.stream, self.cursor, self.epochs = np.zeros(0, np.int16), 0, 0
        fits = np.diff(self.d["chat_off"]) <= chat_length
        self.chat_ids = np.flatnonzero(fits)

    def piece(self, name, i):
        off = self.d[name + "_off"]
        return self.d[name][off[i]:off[i + 1]]

    def new_epoch(self):
        count = lambda name: len(self.d[name + "_off"]) - 1
        picks = [("prose", i) for i in range(count("prose"))]
        picks += [("ccby", i) for i in range(count("ccby"))]
        # A quarter of the template stories an epoch: they are many and hold little news.
        picks += [("simple", i) for i in self.rng.choice(count("simple"), count("simple") // 4, replace=False)]
        picks += [("statements", i) for i in range(count("statements"))]
        order = self.rng.permutation(len(picks))
        self.stream = np.concatenate([self.stream[self.cursor:]] + [self.piece(*picks[i]) for i in order])
        self.cursor = 0
        self.epochs += 1

    def long_batch(self):
        need = self.long_rows * self.context + 1
        while len(self.stream) - self.cursor < need:
            self.new_epoch()
        cut = self.stream[self.cursor:self.cursor + need]
        self.cursor += need - 1
        return self.to_device(cut[:-1].reshape(-1, self.context)), self.to_device(cut[1:].reshape(-1, self.context))

    def conversation(self, ids, labels):
        """Fills one row.  Questions are answered from any position, so turns follow each other until it is full."""
        at, rng = 0, self.rng

        def put(tokens, answer_from):
            nonlocal at
            tokens = tokens[:self.chat_length + 1 - at]
            ids[at:at + len(tokens)] = tokens
            # Only the answer and its end mark are learnt; the line break behind the mark is not.
            labels[at + answer_from:at + len(tokens) - 1] = 1
            at += len(tokens)

        if rng.random() < 0.1:
            put(self.piece("system", rng.integers(len(self.d["system_off"]) - 1)), 1 << 20)
        story_at = int(rng.choice([0, 0, 1, 2])) if rng.random() < 0.5 else -1
        turn = 0
        while at < self.chat_length:
            if turn == story_at:
                i = self.chat_ids[rng.integers(len(self.chat_ids))]
                tokens = self.piece("chat", i)
                if len(tokens) <= self.chat_length + 1 - at:
                    put(tokens, self.d["chat_ans"][i])
            else:
                i = rng.integers(len(self.d["facts_ans"]))
                put(self.piece("facts", i), self.d["facts_ans"][i])
            turn += 1

    def chat_batch(self):
        ids = np.zeros((self.chat_rows, self.chat_length + 1), np.int16)
        labels = np.zeros(ids.shape, np.int8)
        for r in range(self.chat_rows):
            self.conversation(ids[r], labels[r])
        targets = np.where(labels[:, 1:] > 0, ids[:, 1:], -1)
        return self.to_device(ids[:, :-1]), self.to_device(targets)

    def to_device(self, array):
        import torch
        t = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
        return t.pin_memory().to(self.device, non_blocking=True) if self.device == "cuda" else t

    def eval_windows(self):
        """Every held-back token but the first is predicted once, in windows of the full context."""
        import torch
        tokens = torch.from_numpy(self.d["eval"].astype(np.int64))
        n = (len(tokens) - 1 + self.context - 1) // self.context
        x = torch.zeros(n, self.context, dtype=torch.int64)
        y = torch.full((n, self.context), -1, dtype=torch.int64)
        x.view(-1)[:len(tokens) - 1] = tokens[:-1]
        y.view(-1)[:len(tokens) - 1] = tokens[1:]
        return x.to(self.device), y.to(self.device)
