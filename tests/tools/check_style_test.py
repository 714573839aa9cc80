#!/usr/bin/env python3
"""Tests of check_style.py: each rule fires on a file that breaks it and is silent on the nearest one that does not."""
import unittest

import check_style
from check_style import check_file, check_tree, functions

HEADER = "// What it is.\n#pragma once\n"


def rules(path, text):
    return sorted({rule for rule, _, _, _ in check_file(path, text)})


def body(lines):
    """A function of exactly `lines` lines."""
    return "void f() {\n" + "  step();\n" * (lines - 2) + "}\n"


class FunctionCounter(unittest.TestCase):
    def lengths(self, text):
        return [length for _, length, _ in functions(text)]

    def test_plain_and_member_functions(self):
        text = "namespace a {\nclass B : public C {\n public:\n  int x() const { return 1; }\n};\n}\n" + body(5)
        self.assertEqual(self.lengths(text), [1, 5])

    def test_signature_lines_count_from_the_first_one(self):
        self.assertEqual(functions("int x = 0;\n\nvoid f(int a,\n       int b) {\n  g();\n}\n")[0][:2], (3, 4))

    def test_constructor_with_braced_members(self):
        text = "A::A(int n) : x_{n}, y_{1, 2} {\n  go();\n}\nvoid f() {\n}\n"
        self.assertEqual(self.lengths(text), [3, 2])

    def test_tables_lambdas_and_enums_are_not_functions(self):
        self.assertEqual(self.lengths("const int kA[] = {\n1,\n2};\nenum class E : int {\n kA,\n};\n"), [])
        self.assertEqual(self.lengths("void f() {\n  auto g = [](int x) {\n    return x;\n  };\n}\n"), [5])

    def test_template_and_trailing_return(self):
        self.assertEqual(self.lengths("template <class T>\nauto f(T t) -> std::vector<int> {\n  return {};\n}\n"), [4])
        self.assertEqual(self.lengths("template <class T>\nstruct A {\n  void f() {\n  }\n};\n"), [2])

    def test_braces_in_literals_comments_and_macros(self):
        text = ('void f() {\n  s = "{"; // {\n  c = \'{\'; n = 1\'000;\n  r = R"x({ ")" {)x"; /* {\n */\n}\n'
                "#define OPEN {\n#define TWO \\\n  {\n" + body(3))
        self.assertEqual(self.lengths(text), [6, 3])

    def test_only_one_branch_of_a_conditional_counts(self):
        text = "#if A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n  g();\n}\n" + body(3)
        self.assertEqual(len(self.lengths(text)), 2)


class Rules(unittest.TestCase):
    def test_function_length(self):
        self.assertEqual(rules("src/cpu/a.cpp", body(60)), [])
        self.assertEqual(rules("src/cpu/a.cpp", body(61)), ["function-length"])
        self.assertEqual(rules("src/cuda/a.cu", "// k\n" + body(150)), [])
        self.assertEqual(rules("src/cuda/a.cu", "// k\n" + body(151)), ["function-length"])
        self.assertEqual(rules("src/cpu/a.cpp", "namespace HWY_NAMESPACE {\n" + body(150) + "}\n"), [])

    def test_file_length(self):
        self.assertEqual(rules("src/cpu/a.cpp", "int x;\n" * 400), [])
        self.assertEqual(rules("src/cpu/a.cpp", "int x;\n" * 401), ["file-length"])
        self.assertEqual(rules("src/models/a.cpp", "// A.\n" * 201), ["file-length"])
        self.assertEqual(rules("src/models/a.cpp", '#include "models/a.h"\n' + "// A.\n" * 201), [])
        self.assertEqual(rules("tests/cpu/a.cpp", "int x;\n" * 600), [])
        self.assertEqual(rules("tests/cpu/a.cpp", "int x;\n" * 601), ["file-length"])

    def test_include_direction(self):
        for path, include, expected in [
                ("src/ops/a.cpp", "formats/q4.h", []), ("src/formats/a.cpp", "ops/add.h", ["include-direction"]),
                ("src/cpu/a.cpp", "models/registry.h", ["include-direction"]), ("src/cpu/a.cpp", "backend/b.h", []),
                ("src/cuda/a.cpp", "cpu/b.h", ["include-direction"]), ("src/models/a.cpp", "text/t.h", ["include-direction"]),
                ("src/engine/a.cpp", "cpu/b.h", ["include-direction"]), ("src/server/a.cpp", "models/m.h", ["include-direction"]),
                ("src/text/a.cpp", "checkpoint/gguf.h", []), ("apps/main.cpp", "cpu/b.h", []), ("apps/main.cpp", "terminal.h", []),
                ("src/models/blocks/a.h", "models/spec.h", []), ("src/base/a.h", "sibling.h", ["include-direction"]),
                ("src/base/a.h", "../ops/add.h", ["include-direction"]), ("src/cpu/a.cpp", "hwy/highway.h", []),
                ("src/nowhere/a.cpp", "base/check.h", ["include-direction"])]:
            text = f'// What it is.\n#pragma once\n#include "{include}"\n'
            self.assertEqual(rules(path, text), expected, (path, include))

    def test_every_module_sees_base_and_the_table_has_no_cycle(self):
        table = {m: set(a) for m, a in check_style.MAY_INCLUDE.items() if m != "apps"}
        self.assertTrue(all("base" in allowed for module, allowed in table.items() if module != "base"))
        while table:
            leaves = [module for module, allowed in table.items() if not allowed & set(table)]
            self.assertTrue(leaves, table)
            for module in leaves:
                del table[module]

    def test_cuda(self):
        include = "#include <cuda_runtime.h>\n"
        self.assertEqual(rules("src/engine/a.cpp", include), ["cuda-include"])
        self.assertEqual(rules("src/cuda/a.cpp", include), [])
        self.assertEqual(rules("apps/a.cpp", "#ifdef STRETTO_CUDA\n#endif\n"), ["cuda-include"])

    def test_getenv(self):
        text = "auto* x = std::getenv(\"A\");\n"
        self.assertEqual(rules("src/cpu/a.cpp", text), ["getenv"])
        self.assertEqual(rules("src/cpu/a.cpp", "// never getenv here\n"), [])
        for path in ("src/base/config.cpp", "apps/config.cpp", "src/checkpoint/hub_cache.cpp"):
            self.assertEqual(rules(path, text), [])

    def test_names(self):
        for path in ("src/base/string_utils.cpp", "src/cpu/common.cpp", "src/cpu/linear_v2.cpp", "src/cpu/helper/a.cpp"):
            self.assertEqual(rules(path, "int x;\n"), ["file-name"], path)
        self.assertEqual(rules("src/cpu/commonplace.cpp", "int x;\n"), [])

    def test_left_over_and_machine_path(self):
        self.assertEqual(rules("src/cpu/a.cpp", "// TO" "DO: later\n"), ["left-over"])
        self.assertEqual(rules("src/cpu/a.cpp", 'f("not imple" "mented");\n'.replace('" "', "")), ["left-over"])
        self.assertEqual(rules("docs/a.md", "see /wo" "rk/x\n"), ["machine-path"])
        self.assertEqual(rules("docs/a.md", "see $HOME/work/x and ~/home/x, framework/x\n"), [])

    def test_headers(self):
        self.assertEqual(rules("src/base/a.h", HEADER), [])
        self.assertEqual(rules("src/base/a.h", "// What it is.\n"), ["pragma-once"])
        self.assertEqual(rules("src/cpu/a-inl.h", "// A.\n#if defined(A) == defined(HWY_TARGET_TOGGLE)\n#endif\n"), [])
        self.assertEqual(rules("src/base/a.h", "#pragma once\nint f();\n// late\n"), ["header-comment"])
        self.assertEqual(rules("src/base/a.h", "#pragma once\n#include <vector>\nnamespace a {\n// F.\nint f();\n}\n"), [])
        self.assertEqual(rules("src/models/a.cpp", "int f();\n"), ["header-comment"])
        self.assertEqual(rules("src/models/a.cpp", '#include "models/a.h"\nint f();\n'), [])


class Tree(unittest.TestCase):
    def test_fuzz_targets_are_documented(self):
        files = {"fuzz/gguf_fuzz.cpp": "int x;\n", "fuzz/input.h": "#pragma once\n", "SECURITY.md": "gguf\n"}
        self.assertIn("fuzz-target", "\n".join(check_tree(files, "max 0\n")))
        files["SECURITY.md"] = "`fuzz/gguf_fuzz.cpp`\n"
        self.assertEqual(check_tree(files, "max 0\n"), [])


class Exceptions(unittest.TestCase):
    long = {"src/cpu/a.cpp": body(65)}

    def messages(self, files, text):
        return "\n".join(check_tree(files, text))

    def test_none_needed_none_listed(self):
        self.assertEqual(self.messages({"src/cpu/a.cpp": body(9)}, "max 0\n# why\n"), "")

    def test_exact_exception_is_silent(self):
        self.assertEqual(self.messages(self.long, "max 1\nfunction-length src/cpu/a.cpp 5\n"), "")

    def test_growth_is_reported(self):
        self.assertIn("a.cpp:1: function-length", self.messages(self.long, "max 1\nfunction-length src/cpu/a.cpp 4\n"))

    def test_stale_is_reported(self):
        self.assertIn("lower it to 5", self.messages(self.long, "max 1\nfunction-length src/cpu/a.cpp 6\n"))
        self.assertIn("remove it", self.messages({}, "max 1\nfunction-length src/cpu/a.cpp 6\n"))

    def test_the_list_may_only_shrink(self):
        line = "function-length src/cpu/a.cpp 5\n"
        self.assertIn("may only shrink", self.messages(self.long, "max 0\n" + line))
        self.assertIn("lower the first line to max 1", self.messages(self.long, "max 2\n" + line))
        self.assertIn("first line", self.messages(self.long, line))
        self.assertIn("bad or repeated", self.messages(self.long, "max 2\n" + line + line))
        self.assertIn("bad or repeated", self.messages(self.long, "max 1\nno-such-rule src/cpu/a.cpp 5\n"))


if __name__ == "__main__":
    unittest.main()
