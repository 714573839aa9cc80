#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Expressions, LiteralsPrintAsPythonPrintsThem) {
  expect_outputs({
      {"{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 00 }} {{ big }}", "1000 31 5 15 0 18446744073709551615"},
      {"{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }}",
       "1.0 1e+16 1000000000000000.0 1.2345678901234568e+17"},
      {"{{ 0.0001 }} {{ 0.00001 }} {{ 2.5e-5 }} {{ 1_0.5_0 }} {{ 5e-324 }}", "0.0001 1e-05 2.5e-05 10.5 5e-324"},
      {"{{ 0.1 + 0.2 }} {{ -0.0 }} {{ 1.7976931348623157e308 }} {{ 1e999 }}",
       "0.30000000000000004 -0.0 1.7976931348623157e+308 inf"},
      {"{{ true }} {{ False }} {{ none }} {{ None }} {{ True }}", "True False None None True"},
      {"{{ [1, 'a', none, true, 1.5, (1,), ()] }}", "[1, 'a', None, True, 1.5, (1,), ()]"},
      {"{{ {'a': [1, {'b': (1, 2)}], 2: none, none: 1} }}", "{'a': [1, {'b': (1, 2)}], 2: None, None: 1}"},
      {R"({{ ['it\'s', 'a"b', '\'"', '\n\t\\\x00\x7f\u200b'] }})", R"(["it's", 'a"b', '\'"', '\n\t\\\x00\x7f\u200b'])"},
      {"{{ ['é', '\\U0001F600'] }}", "['é', '😀']"},
      {"{{ 1, 2 }} {{ (1) }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ [undefined_name] }}",
       "(1, 2) 1 [1, 2] {'a': 1} [Undefined]"},
      {R"({{ '\q\d\8' }} {{ '\101' }} {{ '\x41\u00e9\U0001F600' }} {{ "a\
b" }} {{ 'a' "b" }})",
       "\\q\\d\\8 A Aé😀 ab ab"},
      {"{{ {1: 'a', true: 'b', 1.0: 'c'} }} {{ {'a': 1, 'a': 2} }}", "{1: 'c'} {'a': 2}"},
  });
}

TEST(Expressions, Arithmetic) {
  expect_outputs({
      {"{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 6 / 3 }} {{ 1 / 4 }}",
       "3 -4 -4 2 -2 2.0 0.25"},
      {"{{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1 + 1.0 }}", "-4.0 0.5 -0.5 2.0"},
      {"{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 0.5 }} {{ 0 ** 0 }}",
       "1024 0.5 64 4 1.4142135623730951 1"},
      {"{{ true + true }} {{ true * 3 }} {{ -true }} {{ true / 2 }}", "2 3 -1 0.5"},
      {"{{ 'a' * 3 }}|{{ 3 * 'ab' }}|{{ 'a' * -1 }}|{{ [1] * 2 }}|{{ (1,) * 2 }}", "aaa|ababab||[1, 1]|(1, 1)"},
      {"{{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }}", "ab [1, 2] (1, 2)"},
      {"{{ 9223372036854775807 + 1 }} {{ big - 1 }} {{ -9223372036854775808 }}",
       "9223372036854775808 18446744073709551614 -9223372036854775808"},
      {"{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }}", "False True"},
      {"{{ 1 + 2 * 3 - 4 }} {{ 2 * 3 % 4 }} {{ 1 ~ 2 * 3 }} {{ 10 - 3 - 2 }}", "3 2 16 5"},
  });
  expect_render_errors({"{{ 1 / 0 }}",       "{{ 1 // 0 }}",      "{{ 1 % 0 }}",
                        "{{ 1.0 / 0 }}",     "{{ 0 ** -1 }}",     "{{ 'a' + 1 }}",
                        "{{ 1 + 'a' }}",     "{{ 'a' + none }}",  "{{ none + 1 }}",
                        "{{ [1] + (2,) }}",  "{{ 'a' - 'b' }}",   "{{ 'a' * 1.5 }}",
                        "{{ {} + {} }}",     "{{ -'a' }}",        "{{ big + 1 }}",
                        "{{ big * big }}",   "{{ 2 ** 64 }}",     "{{ -9223372036854775808 - 1 }}",
                        "{{ (-8) ** 0.5 }}", "{{ 10.0 ** 400 }}", "{{ 1 + 2 ~ 3 }}"});
}

TEST(Expressions, ComparisonIsDeepAndChains) {
  expect_outputs({
      {"{{ 1 < 2 < 3 }} {{ 1 < 2 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }}",
       "True False True True True False"},
      {"{{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 0) }} {{ [1] == (1,) }}",
       "True True True True False"},
      {"{{ {'a': 1, 'b': [2]} == {'b': [2.0], 'a': 1} }} {{ msgs[0] == msgs[0] }} {{ msgs[0] != msgs[1] }}",
       "True True True"},
      {"{{ 1 in [1, 2] }} {{ 'b' in 'abc' }} {{ '' in '' }} {{ 'name' in user }} {{ 1 in d }} {{ 3 not in [1] }}",
       "True True True True False True"},
      {"{{ 1 in [1] == true }} {{ 1 == 1 in [1] }} {{ 1 in [1] in [[1]] }} {{ none in [none] }}",
       "False True True True"},
      {"{{ not 1 == 2 }} {{ not 1 in [1] }} {{ not not 'x' }}", "True False True"},
  });
  expect_render_errors(
      {"{{ 1 < 'a' }}", "{{ none < none }}", "{{ {} < {} }}", "{{ 1 in 5 }}", "{{ 1 in 'x' }}", "{{ [1] in {} }}"});
}

TEST(Expressions, LogicGivesOperands) {
  expect_outputs({
      {"{{ 1 and 0 or 'x' }} {{ '' or none or 0 }} {{ 1 and 2 }} {{ 0 and 2 }} {{ '' or 'y' }}", "x 0 2 0 y"},
      {"{{ 'a' if x }}|{{ 'a' if 0 else 'b' if 0 else 'c' }}|{{ ('x' if 0) is defined }}|{{ 1 if 0 if 1 }}",
       "|c|False|"},
      {"{% for v in [0, 0.0, '', [], {}, (), none, false, nope] %}{{ 'T' if v else 'F' }}{% endfor %}", "FFFFFFFFF"},
      {"{% for v in [1, -0.5, ' ', [0], {'': 0}, (none,), true, range] %}{{ 'T' if v else 'F' }}{% endfor %}",
       "TTTTTTTT"},
      {"{{ false and nope.x }} {{ true or nope.x }}", "False True"},
  });
}

TEST(Expressions, FiltersAndTestsBindTightest) {
  expect_outputs({
      {"{{ '<think>' ~ 'c  ' | trim }}|", "<think>c|"},
      {"{{ not x | default(false) }} {{ 1 + 2 is odd }} {{ -1 | abs }} {{ 'a' ~ 1 is string }}", "True 1 1 aFalse"},
      {"{{ 9 is divisibleby 3 }} {{ 'a' if 1 is odd else 'b' }} {{ 1 is odd and 2 is even }}", "True a True"},
      {"{{ (l | sort)[0] }} {{ l | first + 1 }} {{ l | length > 2 }}", "1 4 True"},
  });
}

TEST(Expressions, Subscripts) {
  expect_outputs({
      {"{{ user.name }} {{ user['name'] }} {{ user['items'] }} {{ user.get('name') }}", "Ann Ann 7 Ann"},
      {"{% for k, v in user.items() %}{{ k }} {% endfor %}", "name tags age items "},
      {"{{ l[0] }} {{ l[-1] }} {{ l[3] }}|{{ l[-4] }}|{{ l['a'] }}|{{ l[1.0] }}|{{ l[true] }}|{{ n[0] }}|{{ nothing.x "
       "}}",
       "3 2 ||||1||"},
      {"{{ l.0 }} {{ nested.1.1.0 }} {{ nested[0][1] }} {{ user[[1]] }}|{{ user[none] }}", "3 4 2 |"},
      {"{{ s[2] }} {{ s[3] }} {{ s[-2] }} {{ s[100] }}|{{ 'é😀'[1] }}", "H é o |😀"},
      {"{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[9:] }} {{ l[2:0:-1] }} {{ (1, 2, 3)[1:] }}",
       "[1, 2] [3, 1] [2, 1, 3] [3, 2] [] [2, 1] (2, 3)"},
      {"{{ 'é😀z'[1:] }} {{ 'é😀z'[::-1] }} {{ 'é😀z'[::-2] }} {{ 'abc'[-2:] }} {{ 'abc'[none:2] }}", "😀z z😀é zé bc ab"},
      {"{{ 'ab'.foo is defined }} {{ user.nope }}|{{ 5.foo }}", "False |"},
  });
  expect_render_errors({"{{ nope.x }}", "{{ nope['x'] }}", "{{ user.nope.x }}", "{{ nope.x is defined }}",
                        "{{ l[::0] }}", "{{ nothing[1:] }}", "{{ nope[1:] }}", "{{ l['a':] }}", "{{ {[1]: 2} }}",
                        "{{ user.get([1]) }}"});
}

TEST(Expressions, UndefinedIsEmptyAndFragile) {
  expect_outputs({
      {"[{{ x }}]{{ x | length }}{{ x | list }}{{ x ~ 'a' }}{{ 1 in x }}{{ x == y }}{{ x == none }}",
       "[]0[]aFalseTrueFalse"},
      {"{% for i in x %}i{% else %}none{% endfor %}{{ x is defined }}{{ x is iterable }}{{ x is mapping }}",
       "noneFalseTrueFalse"},
      {"{{ x | upper }}|{{ x | join(',') }}|{{ x | first }}|{{ x | sort }}|{{ x | items }}|{{ x | map('upper') }}",
       "|||[]|[]|[]"},
  });
  expect_render_errors({"{{ x + 1 }}", "{{ 'a' + x }}", "{{ 1 * x }}", "{{ -x }}", "{{ x < 1 }}", "{{ x() }}",
                        "{{ x.y }}", "{{ x | tojson }}", "{{ [x] | tojson }}", "{{ x | int }}", "{{ x in 'a' }}"});
  EXPECT_EQ(failure("{{ missing.role }}", ErrorKind::kBadArgument), "'missing' is undefined: cannot read 'role' of it");
}

TEST(Expressions, Tests) {
  expect_outputs({
      {"{{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ 1.0 is float }} {{ 1 is true }} {{ 1 is "
       "boolean }}",
       "True False True True False False"},
      {"{{ user is mapping }} {{ user is sequence }} {{ 'a' is sequence }} {{ 5 is sequence }} {{ none is iterable }}",
       "True True True False False"},
      {"{{ false is false }} {{ 0 is false }} {{ none is none }} {{ x is none }} {{ 'a' is string }} {{ 1 is not "
       "string }}",
       "True False True False True True"},
      {"{{ 3 is odd }} {{ -3 is odd }} {{ 4 is even }} {{ 3.0 is odd }} {{ 9 is not divisibleby 2 }}",
       "True True True True True"},
      {"{{ 1 is eq 1.0 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is le 2 }} {{ 3 is gt 2 }} {{ 3 is ge 4 }}",
       "True True True True True False"},
      {"{{ 1 is equalto 1 }} {{ 1 is in [1] }} {{ 'a' is in 'abc' }} {{ none is sameas none }} {{ 1 is sameas true }}",
       "True True True True False"},
      {"{{ 'abc' is lower }} {{ '1' is lower }} {{ 'É' is upper }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ "
       "'odd' is test }}",
       "True False True True False True"},
      {"{{ range is callable }} {{ 'a' is callable }} {{ x is undefined }} {{ user.name is defined }}",
       "True False True True"},
  });
  expect_render_errors(
      {"{{ 'a' is odd }}", "{{ 1 is divisibleby }}", "{{ 1 is in (1, 2) }}", "{{ 1 is divisibleby 0 }}"});
}

TEST(Expressions, Functions) {
  expect_outputs({
      {"{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(5, 1) | list }}",
       "[0, 1, 2] [1, 2, 3] [5, 3, 1] []"},
      {"{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }}",
       "{'a': 1, 'b': 2} {'x': 1, 'y': 2} {'a': 1}"},
      {"{{ strftime_now('%Y-%m-%d %d %b %Y %H:%M:%S %A %%') }}|{{ strftime_now('') }}",
       "2026-01-02 02 Jan 2026 03:04:05 Friday %|"},
      {"{% set ns = namespace({'z': 5}, y=6) %}{{ ns.z }}{{ ns['y'] }}{{ ns.q is defined }}", "56False"},
      {"{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(1, *[2], c=3) }}{{ m(**{'a': 1, "
       "'c': 2}) }}",
       "1212312"},
  });
  expect_render_errors({"{{ range(1, 2, 0) }}", "{{ range('a') }}", "{{ range() }}", "{{ dict(1) }}", "{{ 5() }}",
                        "{{ none() }}", "{{ nope(1) }}", "{{ dict(a=1, **{'a': 2}) }}",
                        "{{ strftime_now('%100000d') }}"});
  EXPECT_EQ(failure("{{ raise_exception('no ' ~ 'go') }}", ErrorKind::kBadArgument), "no go");
}

TEST(Expressions, RealClock) {
  const std::string year = Template::parse("{{ strftime_now('%Y') }}").render(ordered_json::object());
  EXPECT_EQ(year.size(), 4u);
  EXPECT_GE(year, "2024");
}

}  // namespace
}  // namespace stretto::jinja
