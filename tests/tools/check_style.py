#!/usr/bin/env python3
"""Check the house rules that a compiler does not: see RULES and docs/architecture.md.

    check_style.py [ROOT]      prints one line per violation; exit code 1 when there is any

Looks at the files that git tracks or would track. tests/tools/style_exceptions.txt lists what is tolerated: its first
line is `max N`, each other line `rule path number`, where number is the excess (lines over the budget, or violations in
that file). It may only shrink: a number that is too high, an exception that is not needed and a list that is not
exactly N long are violations too.
"""
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

EXCEPTIONS = "tests/tools/style_exceptions.txt"

RULES = {
    "file-length": "at most 400 lines; 200 for an architecture, 600 under tests",
    "function-length": "at most 60 lines; kernels (.cu, HWY_NAMESPACE) 150",
    "include-direction": "a module includes only the modules below it, as \"module/file.h\"",
    "cuda-include": "CUDA headers and #if on CUDA only under src/cuda",
    "getenv": "environment is read in src/base/config, apps/config and src/checkpoint/hub_cache only",
    "file-name": "no utils, common, helper, manager, v2",
    "left-over": "no to-do marks",
    "machine-path": "no paths of one machine",
    "pragma-once": "every header has #pragma once (or Highway's HWY_TARGET_TOGGLE guard)",
    "fuzz-target": "every fuzz/*_fuzz.cpp is named in SECURITY.md, with its last run",
    "header-comment": "in every header, architecture and kernel file a comment precedes the first declaration",
}

CODE = {".h", ".cpp", ".cu"}
TEXT = CODE | {".py", ".md", ".txt", ".cmake", ".json", ".yml", ""}

# Who may include whom; a module may always include itself. apps may include everything.
_TO_PROGRAM = {"base", "formats", "ops", "program"}
MAY_INCLUDE = {
    "base": set(),
    "formats": {"base"},
    "ops": {"base", "formats"},
    "program": {"base", "formats", "ops"},
    "backend": _TO_PROGRAM,
    "cpu": _TO_PROGRAM | {"backend"},
    "cuda": _TO_PROGRAM | {"backend"},
    "oracle": _TO_PROGRAM | {"backend"},
    "checkpoint": {"base", "formats"},
    "jinja": {"base"},
    "text": {"base", "formats", "checkpoint", "jinja"},
    "models": _TO_PROGRAM | {"checkpoint"},
    "engine": _TO_PROGRAM | {"checkpoint", "models", "backend", "text", "jinja"},
    "server": {"base", "engine"},
}
MAY_INCLUDE["apps"] = set(MAY_INCLUDE)

GETENV_FILES = re.compile(r"^(src/base/config|apps/config|src/checkpoint/hub_cache)\.(h|cpp)$")
BAD_NAME_PARTS = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "v2"}
# In two pieces, so that this file does not break its own rules.
LEFT_OVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|not imple" r"mented|unimple" r"mented")
MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.~}])/(work|farm|root|home)/")


def blank(match):
    """Spaces for a comment or literal, line breaks kept, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


_TOKENS = re.compile(
    r'//[^\n]*|/\*.*?\*/'                                # comments
    r'|R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)"'       # raw strings
    r'|"(?:\\.|[^"\\\n])*"'                              # strings
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'", re.S)      # characters, not digit separators


def code_only(text):
    """`text` with comments, literals, preprocessor lines and #else branches blanked."""
    lines, skipping, depth, continued = _TOKENS.sub(blank, text).split("\n"), [], 0, False
    for i, line in enumerate(lines):
        word = re.match(r"\s*#\s*(\w+)", line)
        directive = word.group(1) if word and not continued else ""
        if directive in ("if", "ifdef", "ifndef"):
            depth += 1
        elif directive in ("else", "elif") and (not skipping or skipping[-1] != depth):
            skipping.append(depth)
        elif directive == "endif":
            if skipping and skipping[-1] == depth:
                skipping.pop()
            depth -= 1
        hidden = directive or continued or skipping
        continued = bool(directive or continued) and line.rstrip().endswith("\\")
        if hidden:
            lines[i] = ""
    return "\n".join(lines)


_SCOPE = re.compile(r'^(namespace|extern|(template\s*<.*>\s*)?(typedef\s+)?(class|struct|union|enum))\b', re.S)


def brace_kind(head, before):
    """What the brace after `head` (text since the last statement) opens; `before` is the character in front of it."""
    if before and (before.isalnum() or before in "_>](,={"):
        return "init"
    text = re.sub(r"\[\[.*?\]\]|alignas\s*\([^)]*\)", " ", head).strip()
    if _SCOPE.match(text) and "(" not in text:
        return "scope"
    if text.startswith("extern"):
        return "scope"
    return "function" if "(" in text else "init"


def functions(text):
    """(first line, number of lines, head) of each function body that stands in a namespace or class."""
    code, stack, head, line, head_line, found = code_only(text), [], "", 1, 1, []
    for i, c in enumerate(code):
        inside = any(kind != "scope" for kind, _, _ in stack)
        if c == "\n":
            line += 1
        if c == "{":
            kind = "nested" if inside else brace_kind(head, code[i - 1] if i else "")
            stack.append((kind, head_line if head.strip() else line, head.strip()))
            if kind == "scope":
                head = ""
        elif c == "}" and stack:
            kind, first, name = stack.pop()
            if kind == "function":
                found.append((first, line - first + 1, name))
            if kind in ("function", "scope"):
                head = ""
        elif not inside:
            if c == ";" or (c == ":" and head.strip() in ("public", "private", "protected")):
                head = ""
            else:
                if not head.strip() and not c.isspace():
                    head_line = line
                head += c
    return found


def module_of(path):
    parts = PurePosixPath(path).parts
    return parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]


def check_includes(path, text):
    module = module_of(path)
    allowed = MAY_INCLUDE.get(module)
    if allowed is None:
        yield "include-direction", 1, f"unknown module {module}: add it to MAY_INCLUDE"
        return
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not match or match.group(1).startswith("hwy/"):
            continue
        target = match.group(1).split("/")[0]
        if module == "apps" and "/" not in match.group(1):
            continue  # apps is not under src: its files name each other directly
        if "/" not in match.group(1) or ".." in match.group(1) or target not in MAY_INCLUDE:
            yield "include-direction", number, f'"{match.group(1)}" is not "module/file.h"'
        elif target != module and target not in allowed:
            yield "include-direction", number, f"{module} may not include {target}"


def begins_with_comment(text):
    """Whether a comment stands before the first declaration; includes and the opening namespace may precede it."""
    for line in text.split("\n"):
        if line.strip() and not re.match(r"\s*#|namespace\b", line):
            return line.lstrip().startswith(("//", "/*"))
    return False


def is_architecture(path, text):
    """Whether `path` is one architecture's file: directly in src/models, declared in no header of its own."""
    match = re.match(r"^src/models/([^/]+)\.cpp$", path)
    return bool(match) and f'#include "models/{match.group(1)}.h"' not in text


def check_source(path, text):
    """The rules for a file under src or apps."""
    yield from check_includes(path, text)
    in_cuda = path.startswith("src/cuda/")
    code = code_only(text).split("\n")
    for number, line in enumerate(text.split("\n"), 1):
        if not in_cuda and (re.match(r"\s*#\s*include\s*[<\"](cuda(?!/)|cublas|nccl|cudnn)", line)
                            or re.match(r"\s*#\s*(if|ifdef|ifndef|elif)\b.*(CUDA|NVCC)", line)):
            yield "cuda-include", number, line.strip()
        if re.search(r"\b(secure_)?getenv\b", code[number - 1]) and not GETENV_FILES.match(path):
            yield "getenv", number, line.strip()
    suffix = PurePosixPath(path).suffix
    if (suffix in (".h", ".cu") or is_architecture(path, text)) and not begins_with_comment(text):
        yield "header-comment", 1, "say what this is (shapes, units, errors, source) before the first declaration"


def check_code(path, text):
    """The rules for every C++ and CUDA file; yields (rule, line, message[, excess])."""
    suffix, lines = PurePosixPath(path).suffix, text.count("\n")
    budget = 600 if path.startswith("tests/") else 200 if is_architecture(path, text) else 400
    if lines > budget:
        yield "file-length", 1, f"{lines} lines, budget {budget}", lines - budget
    budget = 150 if suffix == ".cu" or "HWY_NAMESPACE" in text else 60
    for first, length, head in functions(text):
        if length > budget:
            name = re.sub(r"\s+", " ", head.split("(")[0])[-60:]
            yield "function-length", first, f"{name}: {length} lines, budget {budget}", length - budget
    # Highway's per-target headers are included once for each instruction set, with its own guard.
    guarded = "#pragma once" in text or "HWY_TARGET_TOGGLE" in text
    if suffix == ".h" and not guarded:
        yield "pragma-once", 1, RULES["pragma-once"]
    for number, line in enumerate(text.split("\n"), 1):
        if LEFT_OVER.search(line):
            yield "left-over", number, line.strip()


def check_file(path, text):
    """All violations of one file as (rule, line, message, excess)."""
    pure, found = PurePosixPath(path), []
    if BAD_NAME_PARTS & set(re.split(r"[-_.]", pure.name.lower())) | BAD_NAME_PARTS & set(pure.parts):
        found.append(("file-name", 1, RULES["file-name"]))
    if pure.suffix in CODE:
        found += check_code(path, text)
        if pure.parts[0] in ("src", "apps"):
            found += check_source(path, text)
    if path not in ("tests/tools/check_style.py", "tests/tools/check_style_test.py"):
        found += [("machine-path", number, line.strip()[:100]) for number, line in enumerate(text.split("\n"), 1)
                  if MACHINE_PATH.search(line)]
    return [v if len(v) == 4 else (*v, 1) for v in found]


def read_exceptions(text):
    """({(rule, path): number}, messages) from the text of the exception file."""
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    match = re.match(r"^max (\d+)$", lines[0]) if lines else None
    if not match:
        return {}, ["the first line must be: max N"]
    limit, allowed, messages = int(match.group(1)), {}, []
    for line in lines[1:]:
        parts = line.split()
        if len(parts) != 3 or parts[0] not in RULES or not parts[2].isdigit() or tuple(parts[:2]) in allowed:
            messages.append(f"bad or repeated line: {line}")
        else:
            allowed[parts[0], parts[1]] = int(parts[2])
    if len(lines) - 1 > limit:
        messages.append(f"{len(lines) - 1} exceptions, at most {limit}: the list may only shrink")
    elif len(lines) - 1 < limit:
        messages.append(f"only {len(lines) - 1} exceptions are left: lower the first line to max {len(lines) - 1}")
    return allowed, messages


def check_tree(files, exceptions_text):
    """Messages for `files` ({path: text}); empty when the tree keeps the rules."""
    allowed, problems = read_exceptions(exceptions_text)
    messages, totals = [f"{EXCEPTIONS}: {problem}" for problem in problems], {}
    for path, text in sorted(files.items()):
        violations = check_file(path, text)
        if re.match(r"^fuzz/\w+_fuzz\.cpp$", path) and path not in files.get("SECURITY.md", ""):
            violations.append(("fuzz-target", 1, RULES["fuzz-target"], 1))
        for rule, _, _, excess in violations:
            totals[rule, path] = totals.get((rule, path), 0) + excess
        messages += [f"{path}:{line}: {rule}: {message}" for rule, line, message, _ in violations
                     if totals[rule, path] > allowed.get((rule, path), 0)]
    for (rule, path), number in allowed.items():
        have = totals.get((rule, path), 0)
        if have < number:
            advice = f"lower it to {have}" if have else "remove it"
            messages.append(f"{EXCEPTIONS}: stale: {rule} {path} {number}: {advice}")
    return messages


def tree_files(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            check=True, capture_output=True).stdout.decode().split("\0")
    paths = [p for p in listed if p and not p.startswith(("tests/data/", "models/"))]
    paths = [p for p in paths if PurePosixPath(p).suffix in TEXT and (Path(root) / p).is_file()]
    return {p: (Path(root) / p).read_text(encoding="utf-8") for p in paths}


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    files = tree_files(root)
    code = [p for p in files if PurePosixPath(p).suffix in CODE]
    if not code:
        sys.exit(f"error: no source file found under {root}")
    messages = check_tree(files, (root / EXCEPTIONS).read_text())
    print("\n".join(messages + [f"style: {len(files)} files, {len(messages)} violations"]))
    sys.exit(1 if messages else 0)


if __name__ == "__main__":
    main()
