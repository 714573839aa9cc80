# SPDX-License-Identifier: Apache-2.0
"""Draws the loss curves of one or more runs:  plot_log.py OUT.png "label=RUN-log.json" ...

The first run is drawn in full (training, chat and held-out loss), the others by held-out loss only.
"""
import json
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main():
    target, runs = sys.argv[1], [a.split("=", 1) for a in sys.argv[2:]]
    figure, axes = plt.subplots(figsize=(8, 4.6), dpi=100)
    for i, (label, path) in enumerate(runs):
        with open(path, encoding="utf-8") as f:
            log = json.load(f)["log"]
        steps = [e["step"] for e in log]
        if i == 0:
            axes.plot(steps, [e["train"] for e in log], color="tab:gray", label=label + ": training objective (long rows)")
            axes.plot(steps, [e["chat"] for e in log], color="tab:green", label=label + ": chat answers, training")
        axes.plot(steps, [e["heldout"] for e in log], linewidth=2.2 if i == 0 else 1.2,
                  linestyle="-" if i == 0 else "--", label=f"{label}: held-out prose, ends at {log[-1]['heldout']:.3f}")
    axes.set_xlabel("step (65,536 story tokens and 24,576 chat positions each)")
    axes.set_ylabel("nats per token")
    axes.set_ylim(0, 5)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main()
