// Hostile templates: each is refused by a limit, soon and without much memory.
#include <chrono>

#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

std::string repeat(const std::string& part, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += part;
  return out;
}

void expect_limit(const std::string& source, const char* limit, const RenderOptions& options = fixed_time()) {
  const std::string message = failure(source, ErrorKind::kBadArgument, options);
  EXPECT_NE(message.find(limit), std::string::npos) << source.substr(0, 200) << "\n" << message;
}

TEST(Limits, MacroRecursion) {
  expect_limit("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "max_macro_depth");
  expect_limit("{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
               "max_macro_depth");
  expect_limit("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{{ caller }}{% endmacro %}{{ f() }}",
               "max_macro_depth");
  expect_limit("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "max_macro_depth");
  expect_limit("{% macro f(a=f()) %}{% endmacro %}{{ f() }}", "max_macro_depth");
  EXPECT_EQ(render("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}x{% endmacro %}{{ f(190) | length }}"), "191");
}

TEST(Limits, DeepMacrosInDeepStatements) {
  const std::string deep = repeat("{% if 1 %}", 150) + "{{ f() }}" + repeat("{% endif %}", 150);
  expect_limit("{% macro f() %}" + deep + "{% endmacro %}{{ f() }}", "max_depth");
  expect_limit("{% macro f() %}{{ " + repeat("[", 150) + "f()" + repeat("]", 150) + " }}{% endmacro %}{{ f() }}",
               "max_depth");
  expect_limit("{% macro f() %}{{ " + repeat("not ", 150) + "f() }}{% endmacro %}{{ f() }}", "max_depth");
}

TEST(Limits, NestingInTheSource) {
  const auto refuse = [](const std::string& source) {
    const std::string message = failure(source, ErrorKind::kInvalidModel);
    EXPECT_NE(message.find("200 levels"), std::string::npos) << message;
  };
  for (const size_t n : {300u, 50'000u}) {
    refuse("{{ " + repeat("(", n) + "1" + repeat(")", n) + " }}");
    refuse("{{ " + repeat("[", n) + repeat("]", n) + " }}");
    refuse("{{ " + repeat("{1:", n) + "1" + repeat("}", n) + " }}");
    refuse("{{ " + repeat("not ", n) + "1 }}");
    refuse("{{ " + repeat("-", n) + "1 }}");
    refuse("{{ x" + repeat(".a", n) + " }}");
    refuse("{{ x" + repeat("[0]", n) + " }}");
    refuse("{{ x" + repeat("()", n) + " }}");
    refuse("{{ x" + repeat("|e", n) + " }}");
    refuse("{{ x" + repeat(" if 1", n) + " }}");
    refuse("{{ x" + repeat(" if 1 else 1", n) + " }}");
    refuse("{{ f(" + repeat("f(", n) + repeat(")", n) + ") }}");
    refuse("{% set " + repeat("(", n) + "a" + repeat(")", n) + " = 1 %}");
  }
  for (const size_t n : {300u, 20'000u}) {
    refuse(repeat("{% if 1 %}", n) + repeat("{% endif %}", n));
    refuse(repeat("{% for x in y %}", n));
    refuse(repeat("{% macro m() %}", n));
    refuse(repeat("{% set x %}", n));
    refuse(repeat("{% filter upper %}", n));
    refuse(repeat("{% call m() %}", n));
  }
  EXPECT_EQ(render("{{ " + repeat("(", 90) + "1" + repeat(")", 90) + " }}"), "1");
}

TEST(Limits, LongChainsAreNoNesting) {
  EXPECT_EQ(render("{{ 0" + repeat(" + 1", 50'000) + " }}"), "50000");
  EXPECT_EQ(render("{{ 'a'" + repeat(" ~ 'a'", 20'000) + " }}").size(), 20'001u);
  EXPECT_EQ(render("{{ 1" + repeat(" and 1", 50'000) + " }}{{ 0" + repeat(" or 0", 50'000) + " }}"), "10");
  EXPECT_EQ(render("{{ 1" + repeat(" <= 1", 50'000) + " }}"), "True");
  EXPECT_EQ(render("{% if 0 %}" + repeat("{% elif 0 %}", 20'000) + "{% endif %}x"), "x");
}

TEST(Limits, Steps) {
  RenderOptions options = fixed_time();
  options.limits.max_steps = 100'000;
  const std::string loops = "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}";
  expect_limit(loops, "max_steps", options);
  expect_limit("{% set l = [1] %}{% for i in range(1000) %}{% set _ = l.extend(l) %}{% endfor %}", "max_steps",
               options);
  expect_limit(
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "max_steps", options);
  expect_limit(
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, "
      "ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
      "max_steps", options);
  expect_limit("{% set s = 'a' * 100000 %}{% for i in range(100000) %}{{ s in (s ~ i) }}{% endfor %}", "max_steps",
               options);
}

TEST(Limits, FullStepsTakeSeconds) {
  const auto start = std::chrono::steady_clock::now();
  RenderOptions options = fixed_time();
  options.limits.max_steps = 10'000'000;
  const std::string loop =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}";
  expect_limit(loop, "max_steps", options);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Limits, OutputAndMemory) {
  RenderOptions options = fixed_time();
  options.limits.max_output_bytes = 10'000;
  expect_limit("{% for i in range(1000) %}0123456789 {% endfor %}", "max_output_bytes", options);
  EXPECT_EQ(render("{% for i in range(1000) %}0123456789{% endfor %}", small_context(), options).size(), 10'000u);
  expect_limit("{% macro m() %}{% for i in range(2000) %}0123456789{% endfor %}{% endmacro %}{% set x = m() %}",
               "max_output_bytes", options);

  options = fixed_time();
  options.limits.max_memory_bytes = 1'000'000;
  const std::string twice = "{% set ns = namespace(s='0123456789') %}{% for i in range(100) %}";
  for (const char* grow : {"ns.s ~ ns.s", "ns.s + ns.s", "ns.s | replace('0', '00')", "[ns.s, ns.s] | join",
                           "ns.s.replace('', 'abc')", "ns.s | tojson | tojson", "[ns.s, ns.s] | string",
                           "'{0}{0}'.format(ns.s)", "(ns.s ~ '\\n' ~ ns.s) | indent(100)", "ns.s | e ~ '&'*1000"}) {
    expect_limit(twice + "{% set ns.s = " + grow + " %}{% endfor %}", "max_memory_bytes", options);
  }
  expect_limit("{% set l = [] %}{% for i in range(100000) %}{% set _ = l.append([]) %}{% endfor %}", "max_memory_bytes",
               options);
  expect_limit("{% for i in range(100000) %}{% set m = 'a'.upper %}{% endfor %}", "max_memory_bytes", options);
  expect_limit("{{ ('a' * 100000) | list | length }}", "max_memory_bytes", options);
  // Strings that are gone do not count.
  EXPECT_EQ(render("{% for i in range(1000) %}{% set s = 'a' * 100000 %}{% endfor %}x", small_context(), options), "x");
}

TEST(Limits, RangeAndRepetition) {
  expect_limit("{{ range(100001) }}", "max_range");
  expect_limit("{{ range(-9223372036854775808, 18446744073709551615, 1) }}", "max_range");
  expect_limit("{{ 'a' * 1000001 }}", "max_repetition");
  expect_limit("{{ [1] * 18446744073709551615 }}", "max_repetition");
  expect_limit("{{ [1] | batch(18446744073709551615, 0) }}", "batch");
  EXPECT_EQ(render("{{ range(100000) | length }} {{ ('ab' * 500000) | length }} {{ '' * 18446744073709551615 }}"),
            "100000 1000000 ");
}

TEST(Limits, ValuesThatContainThemselves) {
  const std::string knot = "{% set l = [1] %}{% set _ = l.append(l) %}";
  expect_limit(knot + "{{ l }}", "max_value_depth");
  expect_limit(knot + "{{ l | tojson }}", "max_value_depth");
  expect_limit(knot + "{% set k = [1] %}{% set _ = k.append(k) %}{{ l == k }}", "max_value_depth");
  expect_limit(knot + "{% set k = [1] %}{% set _ = k.append(k) %}{{ [l, k] | sort }}", "max_value_depth");
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns] %}x"), "x");
  EXPECT_EQ(render("{% set ns = namespace(l=[]) %}{% for i in range(50000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ "
                   "ns.l | length }}"),
            "1");
  expect_limit("{% set ns = namespace(l=()) %}{% for i in range(500) %}{% set ns.l = (ns.l,) %}{% endfor %}{{ ns.l }}",
               "max_value_depth");
}

TEST(Limits, DeepContext) {
  ordered_json deep = 1;
  for (int i = 0; i < 500; ++i) deep = ordered_json::array({deep});
  EXPECT_THROW(render("{{ x | length }}", {{"x", deep}}), TemplateError);
  EXPECT_EQ(render("y", {{"x", deep}}), "y");  // only variables that the template reads are converted
}

TEST(Limits, LongSource) {
  EXPECT_EQ(failure(std::string((1 << 20) + 1, 'a'), ErrorKind::kInvalidModel),
            "a template of 1048577 bytes is longer than 1048576");
  EXPECT_EQ(render(std::string(1 << 20, 'a')).size(), 1u << 20);
}

TEST(Limits, LoopsThatWereKept) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% for x in [1, 2, 3] if x > 1 %}{% set ns.l = loop %}{% break %}{% "
                   "endfor %}{{ ns.l.index0 }}{{ ns.l.last }}{{ ns.l.nextitem }}{{ ns.l.length }}"),
            "0True0");
}

}  // namespace
}  // namespace stretto::jinja
