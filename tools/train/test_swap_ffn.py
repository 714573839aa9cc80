# SPDX-License-Identifier: Apache-2.0
"""Tests of swap_ffn.py.

  test_swap_ffn.py FOLDER     where FOLDER holds the built reference models swap_ffn_hybrid and swap_ffn_baseline
                              (build/release/refs/hf after a build with tests)

Hard mode against the committed logits, decision margins and stream maps; the gradients against the formula written out for
all banks in float64; the grouped product and whatever else a GPU does differently, where there is one.
"""
import json
import os
import struct
import sys
import unittest

import numpy as np
import torch
import torch.nn.functional as F

import swap_ffn
from swap_ffn import SwapConfig, SwapModel, Tools

FOLDER = ""
SOME_GRADIENTS = ("router_w", "switch_w", "switch_b", "read_w", "read_b", "collapse_w", "event_norm", "w1", "w2", "w3")


def read_safetensors(path):
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack_from("<Q", raw)[0]
    out = {}
    for name, t in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__":
            continue
        data = raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(data, {"F32": "<f4", "I32": "<i4"}[t["dtype"]])
        out[name] = torch.from_numpy(array.reshape(t["shape"]).copy())
    return out


def reference(name):
    with open(os.path.join(FOLDER, name, "config.json"), encoding="utf-8") as f:
        keys = {k: v for k, v in json.load(f).items() if k in SwapConfig.__dataclass_fields__}
    model = SwapModel(SwapConfig(**keys))
    model.load_state_dict(read_safetensors(os.path.join(FOLDER, name, "model.safetensors")))
    return model, read_safetensors(os.path.join(FOLDER, name, "expected.safetensors"))


def soft_layer(f, h, n2):
    """The swap layer by its definition: every bank for every token, straight-through weights as they are written down."""
    c = f.c
    norm = lambda x, w: x / torch.sqrt((x * x).mean(-1, keepdim=True) + c.rms_eps) * w
    hard = lambda soft, choice: choice + soft - soft.detach()
    v = norm(h, n2)
    ram, rows = [torch.zeros_like(v)] * 4, [torch.eye(4, dtype=v.dtype)[i].expand(len(v), 4) for i in range(4)]
    for e in range(c.n_events):
        u = norm(v, f.event_norm[e])
        router, z = u @ f.router_w[e].T + f.router_b[e], u @ f.switch_w[e].T + f.switch_b[e]
        bank = hard(torch.softmax(router / c.tau, -1), F.one_hot(router.argmax(-1), c.n_banks))
        s = hard(torch.sigmoid(z / c.tau), (z > 0).to(z.dtype))
        for j, (a, b) in enumerate(swap_ffn.EXCHANGES):
            x = s[:, j:j + 1]
            rows[a], rows[b] = (1 - x) * rows[a] + x * rows[b], (1 - x) * rows[b] + x * rows[a]
        first = rows[0]
        v = v + torch.sigmoid(u @ f.read_w[e] + f.read_b[e])[:, None] * sum(first[:, r:r + 1] * ram[r] for r in range(4))
        for _ in range(c.k_ffn):
            n = norm(v, f.event_norm[e])
            y = 0
            for b in range(c.n_banks):
                out = (F.silu(n @ f.w1[b].T) * (n @ f.w3[b].T)) @ f.w2[b].T
                # The outputs' own gradient takes the hard weight, as the straight-through product has it.
                y = y + bank[:, b:b + 1] * out
            v = v + y
        ram = [ram[r] * (1 - first[:, r:r + 1]) + first[:, r:r + 1] * v for r in range(4)]
    q = norm(v, f.collapse_norm) @ f.collapse_w.T + f.collapse_b
    choice = hard(torch.softmax(q / c.tau, -1), F.one_hot(q.argmax(-1), 4))
    row = sum(choice[:, i:i + 1] * rows[i] for i in range(4))
    return h + sum(row[:, r:r + 1] * ram[r] for r in range(4))


class SwapFfnTest(unittest.TestCase):
    def test_hard_mode_gives_the_reference(self):
        for name in ("swap_ffn_hybrid", "swap_ffn_baseline"):
            model, expected = reference(name)
            traces = []
            logits = model.logits(expected["tokens"].long()[None], traces=traces)[0]
            scale = expected["logits"].max() - expected["logits"].min()
            error = float((logits - expected["logits"]).abs().max() / scale)
            print(f"{name}: largest difference {error:.2e} of the range of the logits")
            self.assertLess(error, 1e-5)
            if name.endswith("hybrid"):
                margins = torch.stack(traces[0].margins, 1)
                self.assertLess(float((margins.flatten() - expected["decision_margin"]).abs().max()), 2e-4)
                self.assertTrue(torch.equal(traces[0].maps, expected["stream_map"].long()))

    def test_gradients_are_those_of_the_formula(self):
        torch.manual_seed(3)
        model, _ = reference("swap_ffn_hybrid")
        f = next(b.ffn for b in model.blocks if hasattr(b, "ffn")).double()
        h, n2 = torch.randn(64, f.c.d_model, dtype=torch.float64), torch.rand(f.c.d_model, dtype=torch.float64) + 0.5
        toward = torch.randn_like(h)
        results = []
        swap_ffn.rms_norm, kept = (lambda x, w, eps: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w), swap_ffn.rms_norm
        float_cast, torch.Tensor.float = torch.Tensor.float, lambda x: x.to(torch.float64)
        try:
            for layer in (lambda: soft_layer(f, h, n2), lambda: f(h, n2, torch.float64, Tools(rng=np.random.default_rng(1)), 1)[0]):
                f.zero_grad()
                out = layer()
                (out * toward).sum().backward()
                results.append((out.detach(), {n: p.grad.clone() for n, p in f.named_parameters()}))
        finally:
            swap_ffn.rms_norm, torch.Tensor.float = kept, float_cast
        (a, ga), (b, gb) = results
        self.assertLess(float((a - b).norm() / a.norm()), 1e-12)
        for name in SOME_GRADIENTS:
            self.assertLess(float((ga[name] - gb[name]).norm() / ga[name].norm()), 1e-9, name)

    def test_sampled_router_gradient_is_unbiased(self):
        rows, banks, d, stride = 64, 4, 16, 8
        torch.manual_seed(5)
        p0, others, g = torch.rand(rows, banks), torch.randn(banks, rows, d), torch.randn(rows, d)
        mean = torch.zeros(rows, banks)
        for offset in range(stride):
            p = p0.clone().requires_grad_()
            y = swap_ffn.add_router_term(torch.zeros(rows, d), others[:, offset::stride], p[offset::stride], stride, offset)
            self.assertEqual(float(y.abs().max()), 0)
            (y * g).sum().backward()
            mean += p.grad / stride
        self.assertTrue(torch.allclose(mean, torch.einsum("brd,rd->rb", others, g), atol=1e-5))

    def test_groups_hold_every_token_once(self):
        torch.manual_seed(7)
        for bank in (torch.randint(4, (1000,)), torch.full((64,), 2), torch.zeros(40, dtype=torch.long)):
            place, ends, rows = swap_ffn.group_rows(bank, 4)
            self.assertEqual(len(place.unique()), len(bank))
            self.assertEqual(int(ends[-1]), rows)
            self.assertTrue(all(int(e) % swap_ffn.GROUP_ALIGNMENT == 0 for e in ends))
            found = torch.searchsorted(ends.long(), place, right=True)
            self.assertTrue(torch.equal(found, bank))

    @unittest.skipUnless(torch.cuda.is_available(), "needs a GPU")
    def test_the_device_computes_the_same(self):
        torch.manual_seed(9)
        place, ends, rows = swap_ffn.group_rows(torch.randint(4, (4096,), device="cuda"), 4)
        results = []
        for product in (swap_ffn.grouped_by_loop, swap_ffn.grouped_on_device):
            torch.manual_seed(11)
            x = torch.randn(rows, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            w = torch.randn(4, 512, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            y = product(x, w, ends)
            y.backward(torch.randn_like(y))
            results.append((y.detach(), x.grad, w.grad))
        for a, b in zip(*results):
            self.assertLess(float((a.float() - b.float()).norm() / a.float().norm()), 1e-2)
        model, expected = reference("swap_ffn_hybrid")
        ids = expected["tokens"].long()[None].cuda()
        logits = model.cuda().logits(ids)[0].cpu()
        self.assertLess(float((logits - expected["logits"]).abs().max() / expected["logits"].abs().max()), 1e-4)


if __name__ == "__main__":
    FOLDER = sys.argv.pop(1)
    unittest.main()
