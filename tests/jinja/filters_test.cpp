#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Filters, Text) {
  expect_outputs({
      {"[{{ s | trim }}] {{ 'xax' | trim('x') }} {{ 5 | trim }} {{ none | trim }}", "[Héllo] a 5 None"},
      {"{{ 'Ab' | lower }} {{ 'Ab' | upper }} {{ 'ß' | upper }} {{ 'ΑΣ ΣΑΣ' | lower }} {{ 'hELLO' | capitalize }}",
       "ab AB SS ας σας Hello"},
      {"{{ \"they're bill's friends-from (the) [uk]\" | title }} {{ 'a1b' | title }}",
       "They're Bill's Friends-From (The) [Uk] A1b"},
      {"{{ 'a,b' | replace(',', ';') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'ab' | replace('', '-') }} {{ 55 | "
       "replace(5, 6) }}",
       "a;b bba -a-b- 66"},
      {"{{ 'a\\nb\\n\\nc' | indent }}", "a\n    b\n\n    c"},
      {"{{ 'a\\nb\\n\\nc' | indent(2, true, true) }}|{{ 'a\\nb' | indent('>') }}|{{ 'a\\nb' | indent(width=1, "
       "first=True) }}",
       "  a\n  b\n  \n  c|a\n>b| a\n b"},
      {"{{ 'hello world, foo_bar é' | wordcount }} {{ '<a href=\"x\">&\\'' | e }} {{ '<' | escape ~ '<' }}",
       "4 &lt;a href=&#34;x&#34;&gt;&amp;&#39; &lt;<"},
      {"{{ [1, 'a'] | string }} {{ 3 | string + 'a' }} {{ '<' | safe }}", "[1, 'a'] 3a <"},
      {"{{ 'a' | default('b') }} {{ '' | default('b') }}|{{ '' | default('b', true) }} {{ nothing | d('b') }} {{ z | d "
       "}}|{{ z | default(default_value='q') }}",
       "a |b None |q"},
  });
  expect_render_errors({"{{ 5 | indent }}", "{{ 'a' | upper(1) }}", "{{ 'a' | trim('a', 'b') }}",
                        "{{ 'a' | trim(foo=1) }}", "{{ 'a' | replace('a') }}", "{{ 'a' | indent(1000000) }}"});
}

TEST(Filters, Numbers) {
  expect_outputs({
      {"{{ '5' | int }} {{ ' 5 ' | int }} {{ '5.7' | int }} {{ -5.7 | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ "
       "none | int }} {{ true | int }}",
       "5 5 5 -5 0 7 0 1"},
      {"{{ '0x1f' | int(base=16) }} {{ '1f' | int(0, 16) }} {{ '0o7' | int(0, 0) }} {{ '1_000' | int }} {{ '1__0' | "
       "int }} {{ '1e3' | int }} {{ '- 5' | int }}",
       "31 31 7 1000 0 1000 0"},
      {"{{ '2.5' | float }} {{ 'x' | float(1.5) }} {{ 5 | float }} {{ ' 1e5 ' | float }} {{ '-Infinity' | float }} {{ "
       "'.5' | float }} {{ '0x10' | float }}",
       "2.5 1.5 5.0 100000.0 -inf 0.5 0.0"},
      {"{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 42 | round }} {{ 42.55 | round(1, 'ceil') }} {{ "
       "42.55 | round(1, 'floor') }}",
       "2.0 4.0 2.67 42 42.6 42.5"},
      {"{{ 1250 | round(-2) }} {{ 1350 | round(-2) }} {{ -2.5 | round }} {{ 42 | round(0, 'ceil') }} {{ -3 | abs }} {{ "
       "-2.5 | abs }}",
       "1200 1400 -2.0 42.0 3 2.5"},
  });
  expect_render_errors({"{{ 'a' | abs }}", "{{ 'a' | round }}", "{{ 2.5 | round(1, 'up') }}", "{{ nope | int }}",
                        "{{ nope | float }}", "{{ '99999999999999999999' | int }}", "{{ 1e30 | int }}"});
}

TEST(Filters, Sequences) {
  expect_outputs({
      {"{{ l | length }} {{ d | count }} {{ 'é😀' | length }} {{ 'abc' | list }} {{ d | list }} {{ (1, 2) | list }}",
       "3 3 2 ['a', 'b', 'c'] ['b', 'a', 'C'] [1, 2]"},
      {"{{ {'a': 1} | items }} {{ x | items }} {{ l | first }} {{ l | last }} {{ [] | first }}|{{ 'é' | first }} {{ d "
       "| last }}",
       "[('a', 1)] [] 3 2 |é C"},
      {"{{ 'abc' | reverse }} {{ l | reverse }} {{ [1, none, 'a'] | join('-') }} {{ [1, 2] | join }} {{ msgs | "
       "join(',', attribute='role') }}",
       "cba [2, 1, 3] 1-None-a 12 user,assistant,User"},
      {"{{ l | sort }} {{ l | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ "
       "[none, none] | sort }}",
       "[1, 2, 3] [3, 2, 1] ['Apple', 'apple', 'fig', 'pear'] ['Apple', 'apple', 'fig', 'pear'] [None, None]"},
      {"{{ msgs | sort(attribute='role') | map(attribute='role') }} {{ [[2, 1], [1, 5]] | sort(attribute=1) }} {{ "
       "[{'a': 1, 'b': 2}, {'a': 1, 'b': 1}] | sort(attribute='a,b') | map(attribute='b') }}",
       "['assistant', 'user', 'User'] [[2, 1], [1, 5]] [1, 2]"},
      {"{{ d | dictsort }} {{ d | dictsort(true) }} {{ d | dictsort(by='value') }} {{ d | dictsort(false, 'value', "
       "true) }}",
       "[('a', 2), ('b', 1), ('C', 3)] [('C', 3), ('a', 2), ('b', 1)] [('b', 1), ('a', 2), ('C', 3)] [('C', 3), ('a', "
       "2), ('b', 1)]"},
      {"{{ words | unique }} {{ words | unique(true) }} {{ [1, 1.0, true, '1'] | unique }}",
       "['pear', 'Apple', 'fig'] ['pear', 'Apple', 'fig', 'apple'] [1, '1']"},
      {"{{ l | min }} {{ l | max }} {{ words | min }} {{ words | max }} {{ [] | min }}|{{ l | sum }} {{ [{'a': 1}, "
       "{'a': 2}] | sum(attribute='a', start=10) }} {{ [[1], [2]] | sum(start=[]) }}",
       "1 3 Apple pear |6 13 [1, 2]"},
      {"{{ [1, 2, 3] | batch(2) }} {{ [1, 2, 3] | batch(2, 'x') }} {{ [] | batch(2) }}",
       "[[1, 2], [3]] [[1, 2], [3, 'x']] []"},
      {"{% for g in msgs | groupby('role') %}{{ g.grouper }}={{ g.list | length }};{% endfor %}{% for k, v in msgs | "
       "groupby('role', case_sensitive=true) %}{{ k }}{% endfor %}",
       "assistant=1;user=2;Userassistantuser"},
  });
  expect_render_errors({"{{ 5 | length }}", "{{ none | list }}", "{{ 5 | join }}", "{{ [1, 'a'] | sort }}",
                        "{{ l | dictsort }}", "{{ d | dictsort(by='x') }}", "{{ [[1], [1]] | unique }}",
                        "{{ ['a'] | sum }}", "{{ [1] | items }}", "{{ 5 | first }}"});
}

TEST(Filters, Selection) {
  expect_outputs({
      {"{{ msgs | map(attribute='role') }} {{ msgs | map(attribute='zz', default='d') }} {{ [[1, 2]] | "
       "map(attribute=1) }} {{ [{'a': [5]}] | map(attribute='a.0') }}",
       "['user', 'assistant', 'User'] ['d', 'd', 'd'] [2] [5]"},
      {"{{ ['a', 'b'] | map('upper') | join }} {{ ['ab'] | map('replace', 'a', 'z') }} {{ [none] | map('default', 'q', "
       "true) }} {{ [] | map('nope') }}",
       "AB ['zb'] ['q'] []"},
      {"{{ [1, 0, 2] | select }} {{ [1, 0, 2] | reject }} {{ [1, 2, 3] | select('odd') }} {{ [1, 2, 3] | reject('in', "
       "[1, 2]) }} {{ [1, 2] | select('>', 1) }}",
       "[1, 2] [0] [1, 3] [3] [2]"},
      {"{{ msgs | selectattr('role', 'equalto', 'user') | map(attribute='content') }} {{ msgs | "
       "selectattr('tool_calls') | length }} {{ msgs | rejectattr('tool_calls') | length }} {{ msgs | "
       "selectattr('content', 'none') | length }}",
       "['hi'] 1 2 1"},
      {"{{ {'a': 1} | attr('a') }}|{{ {'a': 1} | attr('get') is defined }}|{{ 'x' | attr('upper')() }}", "|True|X"},
      {"{{ ['a', 'b'] | reject('equalto', 'a') | join(', ') }} {{ l | select('divisibleby', 3) | first }}", "b 3"},
  });
  expect_render_errors({"{{ [1] | map('nope') }}", "{{ [1] | map }}", "{{ [1] | map(5) }}",
                        "{{ [1] | map(attribute='x', foo=1) }}", "{{ [1] | select('nope') }}",
                        "{{ msgs | selectattr }}", "{{ msgs | map(attribute='a.b') }}"});
}

TEST(Filters, ToJson) {
  expect_outputs({
      {"{{ {'a': [1, {'b': none}], 'c': true} | tojson }} {{ (1, 2) | tojson }} {{ [1.0, 1e100, 1e-7, -0.0, big] | "
       "tojson }}",
       R"({"a": [1, {"b": null}], "c": true} [1, 2] [1.0, 1e+100, 1e-07, -0.0, 18446744073709551615])"},
      {R"({{ 'é<>&\'/"\\\n\r\t\b\f\x01\x7f\u2028' | tojson }})", "\"é<>&'/\\\"\\\\\\n\\r\\t\\b\\f\\u0001\x7f\u2028\""},
      {"{{ 'é😀\\x7f' | tojson(ensure_ascii=true) }}", R"("\u00e9\ud83d\ude00\u007f")"},
      {"{{ {'a': {'b': []}, 'c': [{}, 1]} | tojson(indent=2) }}",
       "{\n  \"a\": {\n    \"b\": []\n  },\n  \"c\": [\n    {},\n    1\n  ]\n}"},
      {"{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, {'a': 2}] | tojson(separators=(',', ':')) }} {{ [1] | "
       "tojson(indent=0) }}",
       "{\"a\": 2, \"b\": 1} [1,{\"a\":2}] [\n1\n]"},
      {"{{ {1: 2, none: 3, true: 4, 1.5: 6} | tojson }} {{ 'inf' | float | tojson }} {{ 'nan' | float | tojson }}",
       R"({"1": 4, "null": 3, "1.5": 6} Infinity NaN)"},
      {"{{ '{\"a\": [1, 2.50, null, true, \"\\\\u00e9\"]}' | from_json }} {{ '5' | from_json + 1 }} {{ '-Infinity' | "
       "from_json }}",
       "{'a': [1, 2.5, None, True, 'é']} 6 -inf"},
  });
  expect_render_errors({"{{ {(1, 2): 3} | tojson }}", "{{ range | tojson }}", "{{ '{' | from_json }}",
                        "{{ 5 | from_json }}", "{{ '[1,]' | from_json }}", "{{ '99999999999999999999' | from_json }}"});
}

}  // namespace
}  // namespace stretto::jinja
