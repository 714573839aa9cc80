# SPDX-License-Identifier: Apache-2.0
"""Draws held-out losses of the swap-FFN runs:  plot_swap_ffn.py OUT.png TITLE=BASELINE.csv,HYBRID.csv ..."""
import csv
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    target, panels = sys.argv[1], [a.split("=", 1) for a in sys.argv[2:]]
    figure, all_axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4), dpi=100, squeeze=False)
    for axes, (title, paths) in zip(all_axes[0], panels):
        for path, label, color in zip(paths.split(","), ("baseline", "hybrid1"), ("tab:blue", "tab:red")):
            with open(path, encoding="utf-8") as f:
                rows = list(csv.DictReader(f))
            tokens = [int(r["tokens"]) / 1e6 for r in rows]
            axes.plot(tokens, [float(r["heldout"]) for r in rows], color=color, label=f"{label}, held out: {float(rows[-1]['heldout']):.3f}")
            axes.plot(tokens, [float(r["train"]) for r in rows], color=color, linestyle=":", linewidth=1, label=label + ", training")
        axes.set(title=title, xlabel="million tokens", ylabel="nats per token")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main()
