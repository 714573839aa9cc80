#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Methods, Strip) {
  expect_outputs({
      {"[{{ s.strip() }}] [{{ ' a '.lstrip() }}] [{{ ' a '.rstrip() }}] {{ 'xxaxx'.strip('x') }} {{ 'xya'.lstrip('yx') "
       "}} {{ 'éaé'.strip('é') }}",
       "[Héllo] [a ] [ a] a a a"},
      {"[{{ '\\u3000a\\u00a0\\x85'.strip() }}] {{ ' a '.strip(none) }} {{ 'a'.strip('') }} {{ 'abc'.removeprefix('a') "
       "}} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }}",
       "[a] a a bc a abc"},
  });
}

TEST(Methods, Split) {
  expect_outputs({
      {"{{ 'a-b-c'.split('-') }} {{ 'a-b-c'.split('-', 1) }} {{ ' a  b '.split() }} {{ ''.split('-') }} {{ ''.split() "
       "}}",
       "['a', 'b', 'c'] ['a', 'b-c'] ['a', 'b'] [''] []"},
      {"{{ ' a  b c '.split(none, 1) }} {{ ' a  b c '.split(none, 0) }} {{ 'aaa'.split('aa') }} {{ "
       "'a,b'.split(sep=',', maxsplit=1) }}",
       "['a', 'b c '] ['a  b c '] ['', 'a'] ['a', 'b']"},
      {"{{ 'a,b,,c'.rsplit(',', 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ ' a  b '.rsplit() }} {{ 'aaa'.rsplit('aa') "
       "}} {{ 'é a é'.rsplit(none, 1) }}",
       "['a,b,', 'c'] [' a  b', 'c'] ['a', 'b'] ['a', ''] ['é a', 'é']"},
      {R"({{ 'a\nb\r\nc\rd\x0be\u2028f\n'.splitlines() }} {{ 'a\n\nb'.splitlines(true) }} {{ ''.splitlines() }})",
       R"(['a', 'b', 'c', 'd', 'e', 'f'] ['a\n', '\n', 'b'] [])"},
      {"{{ 'x</think>\\n\\ny'.split('</think>')[-1].lstrip('\\n') }}", "y"},
  });
  expect_render_errors({"{{ 'a'.split('') }}", "{{ 'a'.split(1) }}", "{{ 'a'.split(',', 'x') }}"});
}

TEST(Methods, SearchAndReplace) {
  expect_outputs({
      {"{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ "
       "'abc'.startswith('b', 1) }} {{ 'abc'.startswith('', 4) }} {{ 'abc'.endswith('b', 0, 2) }}",
       "True True True True False True"},
      {"{{ 'aXbX'.replace('X', '--') }} {{ 'aXbX'.replace('X', '--', 1) }} {{ 'abc'.replace('', '-', 2) }} {{ "
       "''.replace('', 'x') }}",
       "a--b-- a--bX -a-bc x"},
      {"{{ 'abcabc'.find('c') }} {{ 'abcabc'.find('c', 3) }} {{ 'éa'.find('a') }} {{ 'abc'.find('z') }} {{ "
       "'abc'.find('', 4) }} {{ 'abcabc'.find('a', -3) }}",
       "2 5 1 -1 -1 3"},
      {"{{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'abcabc'.count('a', 1) }} {{ '12'.isdigit() }} {{ "
       "'1a'.isdigit() }} {{ ''.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isdigit() }}",
       "1 4 1 True False False True False"},
  });
  expect_render_errors({"{{ 'abc'.startswith(['a']) }}", "{{ 'abc'.startswith(1) }}", "{{ 'abc'.replace('a') }}",
                        "{{ 'abc'.replace(1, 2) }}", "{{ 'abc'.find(1) }}", "{{ 'abc'.nope() }}",
                        "{{ 'abc'.replace(old='a', new='b') }}"});
}

TEST(Methods, CaseAndJoin) {
  expect_outputs({
      {"{{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ \"they're a1b\".title() }} {{ 'hELLO wORLD'.capitalize() }} {{ "
       "'ﬁx'.title() }}",
       "ABC abc They'Re A1B Hello world Fix"},
      {"{{ ','.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ ''.join([]) }} {{ ','.join({'k': 1}) }}", "a,b a-b-c  k"},
      {"{% set f = 'abc'.upper %}{{ f() }}", "ABC"},
  });
  expect_render_errors({"{{ ','.join([1]) }}", "{{ 'a'.upper(1) }}"});
}

TEST(Methods, Format) {
  expect_outputs({
      {"{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a}-{b.name}-{c[x]}'.format(a=1, b=user, "
       "c={'x': 2}) }} {{ '{{}}'.format() }}",
       "1 a xyx 1-Ann-2 {}"},
      {"{{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:+}|{:,}'.format('a', 'b', 'c', 'd', 42, 5, 1234567) }}",
       "    a|b    |  c  |***d***|00042|+5|1,234,567"},
      {"{{ '{:.2f}|{:e}|{:x}|{:#x}|{:b}|{:.1%}|{:g}'.format(3.14159, 12345.678, 255, 255, 5, 0.5, 1e10) }}",
       "3.14|1.234568e+04|ff|0xff|101|50.0%|1e+10"},
      {"{{ '{!r}{!s}'.format('a', 'b') }} {{ '{:.3}'.format('abcdef') }} {{ '{:08.2f}|{: d}'.format(-1.5, 3) }} {{ "
       "'{0[0]}'.format([7]) }} {{ '{:c}'.format(233) }}",
       "'a'b abc -0001.50| 3 7 é"},
  });
  expect_render_errors({"{{ '{}'.format() }}", "{{ '{} {0}'.format(1, 2) }}", "{{ '{'.format() }}",
                        "{{ '}'.format() }}", "{{ '{x}'.format(y=1) }}", "{{ '{:d}'.format('a') }}",
                        "{{ '{:d}'.format(1.5) }}", "{{ '{:99999999}'.format(1) }}",
                        "{{ '{:99999999999999999999}'.format(1) }}", "{{ '{0[99999999999999999999]}'.format([1]) }}"});
}

TEST(Methods, DictsAndLists) {
  expect_outputs({
      {"{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('a') }} {{ d.get('z') }} {{ "
       "d.get('z', 4) }}",
       "[('b', 1), ('a', 2), ('C', 3)] ['b', 'a', 'C'] [1, 2, 3] 2 None 4"},
      {"{{ [1, 2, 1].index(2) }} {{ [1, 2, 1].count(1) }} {{ [1, 2, 1].index(1, 1) }} {{ (1, 2).index(2) }}",
       "1 2 2 1"},
      {"{% set x = [1] %}{% set _ = x.append(2) %}{{ x }}{{ x.extend([3, 4]) }}{{ x }}{{ x.pop() }}{{ x.pop(0) }}{{ x "
       "}}",
       "[1, 2]None[1, 2, 3, 4]41[2, 3]"},
      {"{{ {'copy': 1}.copy is callable }} {{ {'copy': 1}['copy'] }} {{ {'x': 1}.x }}", "True 1 1"},
  });
  expect_render_errors({"{{ [1].index(5) }}", "{{ [].pop() }}", "{{ (1,).append(2) }}", "{{ d.update({}) }}",
                        "{{ d.get() }}", "{{ d.get(key='a') }}", "{{ user.nope() }}"});
}

}  // namespace
}  // namespace stretto::jinja
