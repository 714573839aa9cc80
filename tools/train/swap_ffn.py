# SPDX-License-Identifier: Apache-2.0
"""The swap-FFN hybrid (docs/swap-ffn.md) in PyTorch, with the soft backward that its training needs.

Parameters are named as in the checkpoints that `stretto convert` reads.  `swap_layers = []` is the baseline.  Token-local
memory only: tokens are independent in the swap layer, so a batch is one list of T tokens.

Forward values are those of the hard definition, bit for bit in one precision: every decision enters as
`hard + (soft - soft.detach())`, and 0/1 weights select exactly.  Backward sees
    switches   sigmoid(z / tau)          a soft switch mixes the two rows of the stream map
    collapse   softmax(q / tau)          a soft choice mixes the rows that the streams point at
    banks      softmax(logits / tau)     d loss / d p_b = gradient of the FFN step's result . output of bank b
Weights and input of a bank get their gradient through the hard choice (the straight-through weight of the others is 0).
The outputs of banks that were not chosen are needed for the router alone, so they are computed without a graph, and for
one token in `router_stride`, whose gradient counts `router_stride` times: unbiased, and 1/8 of the cost at stride 8.
"""
from dataclasses import asdict, dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F

STREAMS, SWITCHES = 4, 6
EXCHANGES = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 1), (2, 3))
GROUP_ALIGNMENT = 8  # rows of a bank's group: 16 bytes of bf16, which the grouped product's backward needs


@dataclass
class SwapConfig:
    """The keys of `config` in a checkpoint."""
    vocab_size: int = 4096
    d_model: int = 256
    n_layer: int = 8
    n_head: int = 4
    n_kv_head: int = 2
    d_ff: int = 1024
    context_length: int = 1024
    rms_eps: float = 1e-5
    rope_theta: float = 10000.0
    swap_layers: list = field(default_factory=list)
    n_banks: int = 4
    n_events: int = 8
    k_ffn: int = 2
    tau: float = 0.1
    use_hard: bool = True
    use_ste: bool = True
    token_local: bool = True

    def as_dict(self):
        return asdict(self)


# ------------------------------------------------------------------------------------------- dense parts
def rms_norm(x, weight, eps):
    f = x.float()
    return f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + eps) * weight


def rope_tables(cfg, device=None):
    size = cfg.d_model // cfg.n_head
    inverse = cfg.rope_theta ** (-torch.arange(0, size, 2, device=device).double() / size)
    angle = torch.arange(cfg.context_length, device=device).double()[:, None] * inverse[None, :]
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    """Half-split pairing: element i turns together with element i + size/2."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def attend(q, k, v):
    """[batch, heads, tokens, size]; query heads share key heads in runs."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    group, t = q.shape[1] // k.shape[1], q.shape[2]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    future = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).masked_fill(future, float("-inf"))
    return scores.softmax(-1) @ v


def attention(x, n1, qkv, o, cos, sin, heads, kv_heads, eps, dtype):
    """Norm, attention and residual.  x [batch, tokens, d] float32."""
    b, t, d = x.shape
    size = d // heads
    y = F.linear(rms_norm(x, n1, eps).to(dtype), qkv.to(dtype))
    q, k, v = y.view(b, t, heads + 2 * kv_heads, size).transpose(1, 2).split([heads, kv_heads, kv_heads], 1)
    y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
    return x + F.linear(y.transpose(1, 2).reshape(b, t, d), o.to(dtype)).float()


def dense_ffn(x, n2, w1, w3, w2, eps, dtype):
    h = rms_norm(x, n2, eps).to(dtype)
    return x + F.linear(F.silu(F.linear(h, w1.to(dtype))) * F.linear(h, w3.to(dtype)), w2.to(dtype)).float()


def dense_block(x, n1, qkv, o, n2, w1, w3, w2, cos, sin, heads, kv_heads, eps, dtype):
    return dense_ffn(attention(x, n1, qkv, o, cos, sin, heads, kv_heads, eps, dtype), n2, w1, w3, w2, eps, dtype)


def head_loss(x, nf, head, targets, eps, dtype):
    """Mean cross entropy of next tokens."""
    logits = F.linear(rms_norm(x, nf, eps).to(dtype), head.to(dtype)).float()
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


# ---------------------------------------------------------------------------------------- swap decisions
def straight_through(hard, soft):
    return hard.to(soft.dtype) + (soft - soft.detach())


def decide(v, ram, streams, event_norm, weight, bias, n_banks, eps, tau, through):
    """Router, switches, network and gated read of one event, all float32.

    v [T, d], ram [T, S, d], streams [T, S, S]: row i is the 0/1 weight of every RAM row for stream i.
    Returns v, streams, the weights of the row of stream 0 [T, S], bank probabilities [T, B], hard banks [T] and the logits
    of the decisions [T, B + 6].
    """
    u = rms_norm(v, event_norm, eps)
    n = n_banks + SWITCHES
    choices = F.linear(u if through else u.detach(), weight[:n], bias[:n])
    router, switch = choices.split([n_banks, SWITCHES], -1)
    gate = F.linear(u, weight[n:], bias[n:])
    s = straight_through(switch > 0, torch.sigmoid(switch / tau))
    rows = list(streams.unbind(1))
    for j, (a, b) in enumerate(EXCHANGES):
        x = s[:, j, None]
        rows[a], rows[b] = rows[a] * (1 - x) + rows[b] * x, rows[b] * (1 - x) + rows[a] * x
    first = rows[0]
    v = v + torch.sigmoid(gate) * (first[:, :, None] * ram).sum(1)
    # max takes the lowest index of equal values on the CPU; the GPU leaves it open, which only a tie of float32 can show.
    return v, torch.stack(rows, 1), first, torch.softmax(router / tau, -1), router.argmax(-1), choices


def write_row(ram, first, v):
    w = first[:, :, None]
    return ram * (1 - w) + w * v[:, None, :]


def collapse(h, v, ram, streams, norm, weight, bias, eps, tau, through):
    """The row of the chosen stream joins the residual stream h [T, d]."""
    q = F.linear(rms_norm(v if through else v.detach(), norm, eps), weight, bias)
    choice = straight_through(F.one_hot(q.argmax(-1), STREAMS), torch.softmax(q / tau, -1))
    row = (choice[:, :, None] * streams).sum(1)
    return h + (row[:, :, None] * ram).sum(1), q


# --------------------------------------------------------------------------------------------- bank FFNs
def group_rows(bank, n_banks):
    """Places of tokens sorted by bank, every group padded to whole alignment units; no host read-back.

    Returns the place of each token [T], the ends of the groups [B] (the last one reaches to the end) and the number of rows.
    """
    total = len(bank) + n_banks * GROUP_ALIGNMENT
    member = F.one_hot(bank, n_banks)
    rank = (member.cumsum(0) * member).sum(1) - 1
    padded = (member.sum(0) + GROUP_ALIGNMENT - 1) // GROUP_ALIGNMENT * GROUP_ALIGNMENT
    ends = padded.cumsum(0)
    place = (ends - padded)[bank] + rank
    ends = torch.cat([ends[:-1], ends.new_full((1,), total)])
    return place, ends.to(torch.int32), total


def grouped_by_loop(x, w, ends):
    """x [rows, k] in groups, w [B, n, k] -> [rows, n].  Reads the ends back: for the CPU and as a check."""
    parts, start = [], 0
    for b, end in enumerate(ends.tolist()):
        parts.append(F.linear(x[start:end], w[b]))
        start = end
    return torch.cat(parts)


def grouped_on_device(x, w, ends):
    product = F.grouped_mm if hasattr(F, "grouped_mm") else torch._grouped_mm
    return product(x, w.transpose(-2, -1), offs=ends)


def normed(v, event_norm, eps, dtype):
    return rms_norm(v, event_norm, eps).to(dtype)


def gated(h):
    a, b = h.chunk(2, -1)
    return F.silu(a) * b


def add_router_term(y, others, p, chosen_stride, offset):
    """y += stride * sum_b (p_b - p_b.detach()) others_b on the sampled rows: nothing forward, the router's gradient back."""
    term = ((p - p.detach()).transpose(0, 1)[:, :, None] * others.float()).sum(0) * chosen_stride
    out = y.clone()
    out[offset::chosen_stride] += term.to(y.dtype)
    return out


class SwapFfn(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        d, e, b = c.d_model, c.n_events, c.n_banks
        self.w1, self.w3 = nn.Parameter(torch.empty(b, c.d_ff, d)), nn.Parameter(torch.empty(b, c.d_ff, d))
        self.w2 = nn.Parameter(torch.zeros(b, d, c.d_ff))
        self.event_norm = nn.Parameter(torch.ones(e, d))
        self.router_w, self.router_b = nn.Parameter(torch.empty(e, b, d)), nn.Parameter(torch.zeros(e, b))
        self.switch_w, self.switch_b = nn.Parameter(torch.empty(e, SWITCHES, d)), nn.Parameter(torch.zeros(e, SWITCHES))
        # Eight reads that each double the vector would let it grow 256-fold: the gates start nearly shut.
        self.read_w, self.read_b = nn.Parameter(torch.zeros(e, d)), nn.Parameter(torch.full((e,), -2.0))
        self.collapse_norm = nn.Parameter(torch.ones(d))
        self.collapse_w, self.collapse_b = nn.Parameter(torch.empty(STREAMS, d)), nn.Parameter(torch.zeros(STREAMS))
        for w in (self.w1, self.w3):
            nn.init.normal_(w, std=d ** -0.5)
        for w in (self.router_w, self.switch_w, self.collapse_w):
            nn.init.normal_(w, std=0.5 * d ** -0.5)

    def bank_steps(self, v, event, place, ends, rows, p, w13, w2, stride, tools):
        """K FFN steps of every token's own bank.  v [T, d] float32, p [T, B] or None (then no router gradient)."""
        c, dtype = self.c, w13.dtype
        g = v.new_zeros(rows, v.shape[1]).index_copy(0, place, v)
        if p is not None:
            p = p.new_zeros(rows, c.n_banks).index_copy(0, place, p)
        for _ in range(c.k_ffn):
            n = tools.normed(g, self.event_norm[event], c.rms_eps, dtype)
            y = tools.grouped(tools.gated(tools.grouped(n, w13, ends)), w2, ends)
            if p is not None:
                offset = int(tools.rng.integers(stride))
                with torch.no_grad():
                    sample = n[offset::stride].expand(c.n_banks, -1, -1)
                    others = torch.bmm(tools.gated(torch.bmm(sample, w13.transpose(1, 2))), w2.transpose(1, 2))
                y = add_router_term(y, others, p[offset::stride], stride, offset)
            g = g + y.float()
        return g.index_select(0, place)

    def forward(self, h, n2, dtype, tools, stride=0, trace=None):
        """h [T, d] float32 after attention; returns it with the swap layer's row added, and the balance loss."""
        c = self.c
        w13, w2 = torch.cat([self.w1, self.w3], 1).to(dtype), self.w2.to(dtype)
        v = rms_norm(h, n2, c.rms_eps)
        ram = v.new_zeros(len(v), STREAMS, c.d_model)
        streams = torch.eye(STREAMS, device=v.device).expand(len(v), -1, -1)
        balance = v.new_zeros(())
        for e in range(c.n_events):
            weight = torch.cat([self.router_w[e], self.switch_w[e], self.read_w[e, None]])
            bias = torch.cat([self.router_b[e], self.switch_b[e], self.read_b[e, None]])
            v, streams, first, p, bank, logits = tools.decide(v, ram, streams, self.event_norm[e], weight, bias,
                                                              c.n_banks, c.rms_eps, c.tau, tools.through)
            place, ends, rows = group_rows(bank, c.n_banks)
            v = self.bank_steps(v, e, place, ends, rows, p if stride else None, w13, w2, stride, tools)
            ram = tools.write_row(ram, first, v)
            share = F.one_hot(bank, c.n_banks).float().mean(0)
            balance = balance + c.n_banks * (share * p.mean(0)).sum() / c.n_events
            if trace is not None:
                trace.event(bank, logits, share)
        h, q = tools.collapse(h, v, ram, streams, self.collapse_norm, self.collapse_w, self.collapse_b, c.rms_eps, c.tau,
                              tools.through)
        if trace is not None:
            trace.end(streams, q)
        return h, balance


class Trace:
    """What a swap layer decided: banks and switch bits per event, margins, final map (as the .expected files hold them)."""

    def __init__(self, n_banks):
        self.n_banks, self.decisions, self.margins, self.shares, self.maps = n_banks, [], [], [], None

    def event(self, bank, logits, share):
        router, switch = logits.split([self.n_banks, SWITCHES], -1)
        bits = ((switch > 0).long() << torch.arange(SWITCHES, device=bank.device)).sum(-1)
        best = router.topk(2).values
        self.decisions.append(bank * (1 << SWITCHES) + bits)
        self.margins.append(torch.minimum(best[:, 0] - best[:, 1], switch.abs().amin(-1)))
        self.shares.append(share)

    def end(self, streams, q):
        best = q.topk(2)
        self.decisions.append(best.indices[:, 0])
        self.margins.append(best.values[:, 0] - best.values[:, 1])
        place = 2 * torch.arange(STREAMS, device=q.device)
        self.maps = (streams.argmax(-1) << place).sum(-1)


# ------------------------------------------------------------------------------------------------- model
class Tools:
    """The functions that a step is made of: as they are, or compiled (each once; all layers share them).

    `through`: the soft gradient of a decision also goes on into the vector that was read, not only to the decision's weights.
    """

    def __init__(self, compiled=False, grouped=grouped_by_loop, rng=None, through=True):
        wrap = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.dense_block, self.attention, self.head_loss = wrap(dense_block), wrap(attention), wrap(head_loss)
        self.decide, self.write_row, self.collapse = wrap(decide), wrap(write_row), wrap(collapse)
        self.normed, self.gated, self.grouped = wrap(normed), wrap(gated), grouped
        self.rng, self.through = rng, through


class Block(nn.Module):
    def __init__(self, c, swap):
        super().__init__()
        d, size = c.d_model, c.d_model // c.n_head
        self.n1, self.n2 = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.qkv = nn.Linear(d, (c.n_head + 2 * c.n_kv_head) * size, bias=False)
        self.o = nn.Linear(d, d, bias=False)
        if swap:
            self.ffn = SwapFfn(c)
        else:
            self.w1, self.w3 = nn.Linear(d, c.d_ff, bias=False), nn.Linear(d, c.d_ff, bias=False)
            self.w2 = nn.Linear(c.d_ff, d, bias=False)


class SwapModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.emb = nn.Embedding(c.vocab_size, c.d_model)
        self.blocks = nn.ModuleList(Block(c, i in c.swap_layers) for i in range(c.n_layer))
        self.nf = nn.Parameter(torch.ones(c.d_model))
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        cos, sin = rope_tables(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2 and ".ffn." not in name:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
        nn.init.normal_(self.emb.weight, std=0.02)
        for block in self.blocks:  # the residual stream starts as the plain embedding
            nn.init.zeros_(block.o.weight)
            if not hasattr(block, "ffn"):
                nn.init.zeros_(block.w2.weight)

    def hidden(self, ids, dtype, tools, stride=0, traces=None):
        """[batch, tokens] -> residual stream before the last norm, and the balance loss."""
        c, t = self.c, ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        x, balance = self.emb(ids).float(), 0.0
        shape = (cos, sin, c.n_head, c.n_kv_head, c.rms_eps, dtype)
        for b in self.blocks:
            if hasattr(b, "ffn"):
                x = tools.attention(x, b.n1, b.qkv.weight, b.o.weight, *shape)
                trace = Trace(c.n_banks) if traces is not None else None
                y, loss = b.ffn(x.flatten(0, 1), b.n2, dtype, tools, stride, trace)
                x, balance = y.view_as(x), balance + loss
                if trace is not None:
                    traces.append(trace)
            else:
                x = tools.dense_block(x, b.n1, b.qkv.weight, b.o.weight, b.n2, b.w1.weight, b.w3.weight, b.w2.weight,
                                      *shape)
        return x, balance

    def loss(self, ids, targets, dtype, tools, stride):
        x, balance = self.hidden(ids, dtype, tools, stride)
        return tools.head_loss(x, self.nf, self.head.weight, targets, self.c.rms_eps, dtype), balance

    @torch.no_grad()
    def logits(self, ids, dtype=torch.float32, tools=None, traces=None):
        x, _ = self.hidden(ids, dtype, tools or Tools(), traces=traces)
        return F.linear(rms_norm(x, self.nf, self.c.rms_eps).to(dtype), self.head.weight.to(dtype)).float()
