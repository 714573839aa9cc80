#!/usr/bin/env python3
"""Two or more programs that measure a round for every line on stdin, in turn: one that the machine slows down slows
down all alike, so that 30 rounds tell a difference of 1 % where separate runs differ by 10 %.

    in_turn.py ROUNDS PROGRAM PROGRAM... -- ARGUMENT...     prints medians, and ratios to the first program
"""
import statistics
import subprocess
import sys


def main() -> None:
    rounds, rest = int(sys.argv[1]), sys.argv[2:]
    programs, arguments = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    children = {
        p: subprocess.Popen([p, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for p in programs
    }

    def measure(program: str) -> list[float]:
        child = children[program]
        child.stdin.write("round\n")
        child.stdin.flush()
        return [float(word) for word in child.stdout.readline().split()]

    for program in programs:  # warm
        measure(program)
    results = {p: [] for p in programs}
    for i in range(rounds):
        for program in programs if i % 2 == 0 else programs[::-1]:
            results[program].append(measure(program))
    first = [r[0] for r in results[programs[0]]]
    for program in programs:
        columns = [statistics.median(column) for column in zip(*results[program])]
        ratios = [r[0] / f for r, f in zip(results[program], first)]
        error = statistics.stdev(ratios) / rounds**0.5
        print(
            f"{program}: medians {' '.join(f'{c:.2f}' for c in columns)}; ratio to {programs[0]} median "
            f"{statistics.median(ratios):.4f}, mean {statistics.mean(ratios):.4f} +- {error:.4f}"
        )
    for child in children.values():
        child.stdin.close()


if __name__ == "__main__":
    main()
