# SPDX-License-Identifier: Apache-2.0
"""A small Qwen3-shaped decoder in PyTorch, and the Muon optimiser it is trained with."""
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 4096
    dim: int = 512
    layers: int = 6
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 1024
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-6
    dropout: float = 0.1

    def as_dict(self):
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        f = x.float()
        return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


def rope_tables(cfg, device=None):
    inverse = cfg.rope_base ** (-torch.arange(0, cfg.head_dim, 2, device=device).float() / cfg.head_dim)
    angle = torch.arange(cfg.context, device=device).float()[:, None] * inverse[None, :]
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Half-split pairing: element i turns together with element i + D/2."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q = nn.Linear(c.dim, c.heads * c.head_dim, bias=False)
        self.k = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.v = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.o = nn.Linear(c.heads * c.head_dim, c.dim, bias=False)
        self.q_norm, self.k_norm = RMSNorm(c.head_dim, c.eps), RMSNorm(c.head_dim, c.eps)

    def forward(self, x, cos, sin):
        c, (b, t, _) = self.c, x.shape
        q = rotate(self.q_norm(self.q(x).view(b, t, c.heads, c.head_dim)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k(x).view(b, t, c.kv_heads, c.head_dim)).transpose(1, 2), cos, sin)
        v = self.v(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=True, enable_gqa=True)
        return self.o(y.transpose(1, 2).reshape(b, t, c.heads * c.head_dim))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attn_norm, self.ffn_norm = RMSNorm(c.dim, c.eps), RMSNorm(c.dim, c.eps)
        self.attn = Attention(c)
        self.gate = nn.Linear(c.dim, c.ffn, bias=False)
        self.up = nn.Linear(c.dim, c.ffn, bias=False)
        self.down = nn.Linear(c.ffn, c.dim, bias=False)
        self.dropout = c.dropout

    def forward(self, x, cos, sin):
        x = x + F.dropout(self.attn(self.attn_norm(x), cos, sin), self.dropout, self.training)
        h = self.ffn_norm(x)
        return x + F.dropout(self.down(F.silu(self.gate(h)) * self.up(h)), self.dropout, self.training)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c.vocab, c.dim)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.dim, c.eps)
        cos, sin = rope_tables(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, p in self.named_parameters():
            if p.dim() == 2 and "embed" not in name:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
        for block in self.blocks:  # the residual stream starts as the plain embedding
            nn.init.zeros_(block.attn.o.weight)
            nn.init.zeros_(block.down.weight)

    def forward(self, ids):
        t = ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        x = F.dropout(self.embed(ids), self.c.dropout, self.training)
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embed.weight)  # the head is tied to the embedding


def gguf_tensors(model):
    """GGUF name -> float32 numpy array, in file order."""
    out = {"token_embd.weight": model.embed.weight, "output_norm.weight": model.norm.weight}
    for i, b in enumerate(model.blocks):
        for name, module in (("attn_norm", b.attn_norm), ("attn_q", b.attn.q), ("attn_q_norm", b.attn.q_norm),
                             ("attn_k", b.attn.k), ("attn_k_norm", b.attn.k_norm), ("attn_v", b.attn.v),
                             ("attn_output", b.attn.o), ("ffn_norm", b.ffn_norm), ("ffn_gate", b.gate),
                             ("ffn_up", b.up), ("ffn_down", b.down)):
            out[f"blk.{i}.{name}.weight"] = module.weight
    return {k: v.detach().float().cpu().numpy() for k, v in out.items()}


def load_gguf_tensors(model, tensors):
    """The inverse, to measure the quantised file itself with the fast code."""
    names = list(gguf_tensors(model))
    params = [model.embed.weight, model.norm.weight]
    for b in model.blocks:
        params += [m.weight for m in (b.attn_norm, b.attn.q, b.attn.q_norm, b.attn.k, b.attn.k_norm, b.attn.v,
                                      b.attn.o, b.ffn_norm, b.gate, b.up, b.down)]
    with torch.no_grad():
        for name, p in zip(names, params):
            p.copy_(torch.from_numpy(tensors[name].copy()).to(p.device))


# ---------------------------------------------------------------------------------------------- optimiser
def orthogonalise(g, steps=5):
    """Newton-Schulz iteration that drives all singular values of each matrix in the stack towards one."""
    x = g.bfloat16()
    wide = x.shape[-2] > x.shape[-1]
    if wide:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if wide else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is orthogonalised; matrices of one shape, or stacks of them, are done in one batch."""

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.1):
        by_shape = {}
        for p in params:
            by_shape.setdefault(tuple(p.shape), []).append(p)
        super().__init__([{"params": ps} for ps in by_shape.values()],
                         dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            ps = group["params"]
            grad = torch.stack([p.grad for p in ps])
            state = self.state[ps[0]]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(grad)
            buf = state["momentum"].lerp_(grad, 1 - group["momentum"])
            update = orthogonalise(grad.lerp(buf, group["momentum"]))
            scale = max(1.0, ps[0].shape[-2] / ps[0].shape[-1]) ** 0.5
            torch._foreach_mul_(ps, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(ps, list(update.unbind(0)), alpha=-group["lr"] * scale)


def make_optimisers(model, lr, embed_lr, weight_decay, embed_decay):
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    adam = torch.optim.AdamW([{"params": [model.embed.weight], "weight_decay": embed_decay},
                              {"params": vectors, "weight_decay": 0.0}],
                             lr=embed_lr, betas=(0.9, 0.95), eps=1e-10, fused=True)
    return [Muon(matrices, lr=lr, weight_decay=weight_decay), adam]
