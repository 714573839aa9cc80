#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Syntax, RefusedExpressions) {
  expect_syntax_errors({
      "{{ a b }}",
      "{{ }}",
      "{{ 1 + }}",
      "{{ (1 }}",
      "{{ [1 }}",
      "{{ {'a' 1} }}",
      "{{ 1 | }}",
      "{{ 1 is }}",
      "{{ a..b }}",
      "{{ a.1b }}",
      "{{ 012 }}",
      "{{ open",
      "{{ 'open }}",
      "{{ a $ b }}",
      "{{ a ! b }}",
      "{{ a; b }}",
      "{{ 'a' 'b' 1 }}",
      "{{ dict(a=1, a=2) }}",
      "{{ f(a=1, 2) }}",
      "{{ f(*a, *b) }}",
      "{{ f(**a, b) }}",
      "{{ 1 is odd is true }}",
      "{{ '\\x4' }}",
      "{{ '\\u00' }}",
      "{{ '\\ud800' }}",
      "{{ '\\U00110000' }}",
      "{{ 18446744073709551616 }}",
      "{{ (1] }}",
      "{{ 1) }}",
      "{{ a[1:2:3:4] }}",
      "{{ a[] }}",
      "{{ 'x' | nosuchfilter }}",
      "{{ 1 is nosuchtest }}",
      "\xff",
      "{{ '\xc3' }}",
  });
}

TEST(Syntax, RefusedTags) {
  expect_syntax_errors({
      "{% if x %}",
      "{% endif %}",
      "{% for %}{% endfor %}",
      "{% for x in %}{% endfor %}",
      "{% for x in l %}",
      "{% set %}",
      "{% set x %}",
      "{% set 1 = 2 %}",
      "{% set true = 2 %}",
      "{% set x.y.z = 2 %}",
      "{% set x['a'] = 2 %}",
      "{% for loop in [1] %}{% endfor %}",
      "{% break %}",
      "{% continue %}",
      "{% foo %}",
      "{% else %}",
      "{% if 1 %}{% endfor %}",
      "{% macro %}{% endmacro %}",
      "{% macro m %}{% endmacro %}",
      "{% macro m(a=1, b) %}{% endmacro %}",
      "{% macro m(a, a) %}{% endmacro %}",
      "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
      "{% call x %}{% endcall %}",
      "{# open",
      "{% open",
      "{% raw %} open",
      "{% if %}",
      "{% include 'x' %}",
      "{% import 'x' as y %}",
      "{% extends 'x' %}",
      "{% do f() %}",
  });
}

TEST(Syntax, UnknownFiltersUnderAConditionFailOnlyWhenUsed) {
  expect_outputs({
      {"{% if false %}{{ 'a' | nope }}{{ 1 is nope }}{% endif %}ok", "ok"},
      {"{{ 'a' | nope if false else 'b' }}{{ 'a' if true else 'b' | nope }}", "ba"},
  });
  expect_render_errors({"{% if true %}{{ 'a' | nope }}{% endif %}", "{{ 'a' | nope if true }}"});
}

TEST(Syntax, ErrorsNameLineAndColumn) {
  try {
    Template::parse("é {{ 1 }}\r\n  é {{ 'x' | nope }}", "model.gguf");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.line(), 2u);
    EXPECT_EQ(e.column(), 14u);
    EXPECT_STREQ(e.what(), "model.gguf:2:14: there is no filter 'nope'");
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel);
  }
  try {
    render("a\n{% macro m(x) %}\n  {{ x.role.name }}\n{% endmacro %}\n{{ m({}) }}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_STREQ(e.what(), "chat template:3:13: 'role' is undefined: cannot read 'name' of it");
    EXPECT_EQ(e.kind(), ErrorKind::kBadArgument);
  }
  try {
    render("{{ raise_exception('Conversation roles must alternate') }}");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.detail(), "Conversation roles must alternate");
    EXPECT_EQ(e.line(), 1u);
    EXPECT_EQ(e.column(), 4u);
  }
  EXPECT_EQ(failure("{% if x %}a", ErrorKind::kInvalidModel), "expected 'endif', found the end of the template");
  EXPECT_EQ(failure("{{ 1 + 'a' }}", ErrorKind::kBadArgument), "'+' does not work between int and str");
}

TEST(Syntax, EveryPrefixIsAcceptedOrRefused) {
  const std::string source =
      "{%- macro m(a, b=[1, {'k': (2,)}]) -%}{{ a ~ b[0:1] | join(', ') }}{%- endmacro %}{# c #}{% raw %}{{{% endraw %}"
      "{% for k, v in d.items() if v is not none %}{{ k ** 2 if v else -v // 3 }}{% else %}{% set x.y = '\\u00e9' %}{% "
      "endfor %}";
  for (size_t n = 0; n <= source.size(); ++n) {
    try {
      const Template parsed = Template::parse(source.substr(0, n));
      parsed.render(small_context());
    } catch (const TemplateError& e) {
      EXPECT_GE(e.column(), 1u);
    }
  }
}

TEST(Syntax, ContextMustBeAnObject) {
  EXPECT_THROW(render("a", ordered_json::array()), TemplateError);
  EXPECT_EQ(Template::parse("").render(ordered_json::object()), "");
}

}  // namespace
}  // namespace stretto::jinja
