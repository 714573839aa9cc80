#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Whitespace, TrimAndStripBlocks) {
  expect_outputs({
      {"  {% if true %}  \n x\n  {%- endif %}\n y", "  \n x y"},
      {"a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"},
      {"a {{- 1 -}} b\n\n{{ 2 }}\n", "a1b\n\n2"},
      {"a\n   {# c #}\nb", "a\nb"},
      {"a\n   {{ 1 }}\nb", "a\n   1\nb"},
      {"x{%+ if true %} y {% endif +%}\nz", "x y \nz"},
      {"a\n  {%+ if true %}b{% endif %}", "a\n  b"},
      {" \t{%- if true -%} \n q {%- endif -%} \n r", "qr"},
      {"{{ '  x  ' }}  {%- if true %}  y{% endif %}", "  x    y"},
      {"t {% set q = 1 %} \n u", "t  \n u"},
      {"a\n{{ 1 }}\n\n", "a\n1\n"},
      {"a\r\nb\rc\r\n{% if true %}\r\nd{% endif %}\r\n", "a\nb\nc\nd"},
      {"{#- x -#}  a{#--#} b {#+ c +#}\nd", "ab \nd"},
      {"{% if 1 %}\n\n  x{% endif %}\n\n\n", "\n  x\n"},
      {"a\n \u3000 {% if 1 %}x{% endif %}", "a\nx"},
      {"{{\n1\n+\n2\n}}{%\nif 1\n%}a{%\nendif\n%}", "3a"},
      {"{% if true %}   {% if true %}a{% endif %}{% endif %}", "   a"},
      {"{% set x = 1 %}\n   {% set y = 2 %}  a", "  a"},
  });
}

TEST(Whitespace, RawAndLiteralText) {
  expect_outputs({
      {"{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%}  a  {%- endraw -%}  b", "{{ x }}{% if %}|ab"},
      {"{% raw %}\na\n{% endraw %}\nb", "\na\nb"},
      {"  {% raw %}\n x \n  {% endraw %}  y", "\n x \n  y"},
      {"{ { } } {'a'} % { %} }}", "{ { } } {'a'} % { %} }}"},
      {"{{ '}}' }}{{ \"%}\" }}{{ {'a': {'b': 1}} }}{{ {'a': {}}}}{% if {'a': '%}'} %}x{% endif %}",
       "}}%}{'a': {'b': 1}}{'a': {}}x"},
      {"a {# {{ #} b", "a  b"},
  });
}

TEST(For, LoopVariables) {
  expect_outputs({
      {"{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first "
       "}}{{ loop.last }}{{ loop.length }}"
       "{{ loop.cycle('a', 'b') }}[{{ loop.previtem }}{{ loop.nextitem }}];{% endfor %}",
       "1032TrueFalse3a[2];2121FalseFalse3b[13];3210FalseTrue3a[2];"},
      {"{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
       "True10 False10 True10 "},
      {"{% for a in [1, 2, 3, 4] if a is even %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }} {{ "
       "loop.previtem }} {{ loop.nextitem }};{% endfor %}",
       "1/2TrueFalse  4;2/2FalseTrue 2 ;"},
      {"{% for x in [1, 2] %}{% for y in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
       "121;122;"},
      {"{% for x in [1, 2] %}{% for y in [loop.index] if y == loop.index %}{{ y }}{% endfor %}{% endfor %}", "12"},
  });
  // A condition sees what the body did to earlier items, as far as the loop was not asked about later ones.
  expect_outputs({
      {"{% set ns = namespace(go=true) %}{% for x in [1, 2, 3] if ns.go %}{{ x }}{% set ns.go = x < 2 %}{% endfor %}",
       "12"},
      {"{% set ns = namespace(go=true) %}{% for x in [1, 2, 3] if ns.go %}{{ loop.length }}{% set ns.go = false %}{% "
       "endfor %}",
       "333"},
  });
}

TEST(For, TargetsAndItems) {
  expect_outputs({
      {"{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b "
       "}}{{ c }}{% endfor %}",
       "1234123"},
      {"{% for c in 'aé' %}{{ c }}-{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for x in [] %}x{% else %}E{% "
       "endfor %}",
       "a-é-baCE"},
      {"{% for x in [1, 2] if x > 2 %}{{ x }}{% else %}none{% endfor %}{% for x in [1, 2] %}{% break %}{% else %}E{% "
       "endfor %}",
       "noneE"},
      // As in Jinja2, `else` runs unless one round reached the end of the body (with and without `loop`).
      {"{% for x in [1, 2] %}{{ loop.index }}{% continue %}{% else %}E{% endfor %}|{% for x in [1, 2] %}{% if x == 1 "
       "%}{% continue %}{% endif %}{{ x }}{% else %}E{% endfor %}|{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% "
       "endif %}{{ loop.index }}{% else %}E{% endfor %}",
       "12E|2|1"},
      {"{% for a in [1, 2, 3] %}{% if a == 2 %}{% continue %}{% endif %}{{ a }}{% endfor %} {% for a in [1, 2, 3] %}{% "
       "if a == 2 %}{% break %}{% endif %}{{ a }}{% endfor %}",
       "13 1"},
      {"{% for x in [[1, [2]], [3]] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}/{{ loop.depth "
       "}}{% endif %}{% endfor %}",
       "[1/2[2/3]][3/2]"},
  });
  expect_render_errors(
      {"{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a in 5 %}{% endfor %}",
       "{% for a in none %}{% endfor %}", "{% for x in [1] %}{{ loop([2]) }}{% endfor %}",
       "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}",
       "{% set ns = namespace() %}{% for x in [1] recursive %}{% set ns.l = loop %}{% endfor %}{{ ns.l([1]) }}"});
}

TEST(Scopes, SetLivesToTheEndOfTheIteration) {
  expect_outputs({
      {"{% for x in [1, 2, 3] %}{% if x == 2 %}{% set y = 5 %}{% endif %}{{ y }}|{% endfor %}{{ y }}", "|5||"},
      {"{% set y = 1 %}{% for x in [1] %}{% set y = 2 %}{{ y }}{% endfor %}{{ y }}", "21"},
      {"{% set y = 0 %}{% for x in [1, 2] %}{{ y }}{% set y = y + x %}{{ y }};{% endfor %}{{ y }}", "01;02;0"},
      {"{% set y = 1 %}{% if true %}{% set y = 2 %}{% endif %}{{ y }}{% if false %}{% set n = 9 %}{% endif %}{{ n }}",
       "25"},
      {"{% for x in [] %}{% else %}{% set q = 1 %}{{ q }}{% endfor %}{{ q }}|{% for x in [1] %}{% endfor %}{{ x }}",
       "1|"},
      {"{% set n = namespace(a=1) %}{% for x in [1, 2] %}{% set n.a = n.a + x %}{% endfor %}{{ n.a }}", "4"},
      {"{% set flag = flag if flag is defined else 'no' %}{{ flag }}{% set z = z if z is defined else True %}{{ z }}",
       "TrueTrue"},
      {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}{% set t = 1, 2 %}{{ t }}",
       "1234(1, 2)"},
      {"{% set x %}hi {{ n }}{% set inner = 1 %}{% endset %}{{ x }}{{ inner }}{% set y | upper | replace('H', 'J') "
       "%}hi{% endset %}{{ y }}",
       "hi 5JI"},
      {"{% filter upper %}a{% set k = 1 %}{{ n }}b{% endfilter %}{{ k }}{% filter replace('a', 'b') | upper %}aaa{% "
       "endfilter %}",
       "A5BBBB"},
      {"{% generation %}g{% set k = 1 %}{% endgeneration %}{{ k }}", "g1"},
      {"{% for x in [1, 2] %}{% set b %}{% if x == 1 %}{% continue %}{% endif %}q{% endset %}{{ x }}{{ b }}{% endfor "
       "%}",
       "2q"},
  });
  expect_render_errors(
      {"{% set user.x = 1 %}", "{% set nope.x = 1 %}", "{% set a, b = 1 %}", "{% set a, b = (1, 2, 3) %}"});
}

TEST(Macros, Parameters) {
  expect_outputs({
      {"{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(b=3, a=0) }}{{ m() }}",
       "[1,2,1][0,3,0][,2,]"},
      {"{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "1(2, 3){'x': 4}"},
      {"{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "54321"},
      {"{% macro m(x) %}  {{ x }}  {% endmacro %}[{{ m(1) | trim }}]{{ m(1) | length }}{{ m is callable }}",
       "[1]5True"},
  });
  expect_render_errors({"{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
                        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
                        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
                        "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}"});
}

TEST(Macros, SeeWhereTheyAreWritten) {
  expect_outputs({
      {"{% macro m() %}[{{ v }}]{% endmacro %}{{ m() }}{% set v = 1 %}{{ m() }}{% set v = 2 %}{{ m() }}", "[][1][2]"},
      {"{% macro m() %}{% set v = 5 %}{{ v }}{% endmacro %}{% set v = 1 %}{{ m() }}{{ v }}", "51"},
      {"{% macro m() %}[{{ i }}]{% endmacro %}{% for i in [1, 2] %}{{ m() }}{% endfor %}", "[][]"},
      {"{% for i in [1, 2] %}{% macro m() %}{{ i }}{{ n }}{% endmacro %}{{ m() }}{% endfor %}", "1525"},
      {"{% macro outer(a) %}{% macro inner(b) %}{{ a }}{{ b }}{% endmacro %}{{ inner(2) }}{% endmacro %}{{ outer(1) }}",
       "12"},
      // A macro that leaves its loop keeps the iteration that it was made in.
      {"{% set ns = namespace(all=[]) %}{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{% set ns.all = "
       "ns.all + [m] %}{% endfor %}{% for f in ns.all %}{{ f() }}{% endfor %}",
       "12"},
  });
}

TEST(Macros, CallBlocks) {
  expect_outputs({
      {"{% macro m() %}{{ caller() }}-{{ caller() }}{% endmacro %}{% call m() %}x{{ n }}{% endcall %}", "x5-x5"},
      {"{% macro m() %}{{ caller(1, b=2) }}{% endmacro %}{% call(a, b, c=3) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}",
       "123"},
      {"{% macro m() %}{{ caller is defined }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ m() }}{% call "
       "m() %}y{% endcall %}",
       "FalseTruey"},
      {"{% macro m(x) %}<{{ caller() }}>{% endmacro %}{% for i in [1, 2] %}{% call m(i) %}{{ i }}{{ loop.index }}{% "
       "endcall %}{% endfor %}",
       "<11><22>"},
  });
}

TEST(Idioms, OfRealTemplates) {
  expect_outputs({
      {"{%- for m in msgs[::-1] %}{{ (msgs | length - 1) - loop.index0 }}{% endfor %}", "210"},
      {"{%- set users = msgs | selectattr('role', 'equalto', 'user') | list %}{{ msgs[0] == users[-1] }}", "True"},
      {"{% for x in [1, 2] %}{{ x }}{{- ',' if not loop.last -}}{% endfor %}", "1,2"},
      {"{%- set tools = none %}{% if tools is not none and tools | length %}x{% endif %}{{ (msgs[1]['content'] or '') "
       "}}|",
       "|"},
      {"{% for m in msgs %}{% if m.tool_calls is defined %}{% set m = m.tool_calls[0] %}{{ m.id }}{% endif %}{{ m.role "
       "}};{% endfor %}",
       "user;1;User;"},
      {"{%- for message in [{'role': 'a', 'content': ' x '}] %}{{ '<' + message.role + '>' + message['content'] | trim "
       "+ '</>' }}{% endfor %}",
       "<a>x</>"},
  });
}

}  // namespace
}  // namespace stretto::jinja
