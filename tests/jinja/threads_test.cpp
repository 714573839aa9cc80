#include <atomic>
#include <thread>
#include <vector>

#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

TEST(Threads, OneTemplateRenderedByMany) {
  const Template parsed = Template::parse(
      "{% macro m(x, sep=', ') %}{{ x | join(sep) }}{% endmacro %}{% set ns = namespace(t='') %}{% for i in range(50) "
      "%}"
      "{% set ns.t = ns.t ~ m([i, 'a', who]) ~ loop.index ~ nope %}{% endfor %}{{ ns.t | upper | tojson }}{{ [] | "
      "first }}");
  const auto expected = [&parsed](int i) { return parsed.render({{"who", i}}); };
  std::vector<std::string> outputs;
  for (int i = 0; i < 4; ++i) outputs.push_back(expected(i));
  std::atomic<int> n_wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) n_wrong += expected(i) == outputs[i] ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_wrong, 0);
  EXPECT_NE(outputs[0], outputs[1]);
}

// The deepest allowed nesting fits a thread's stack.
TEST(Threads, DeepestNestingOnASmallStack) {
  std::thread([] {
    EXPECT_NE(
        failure(
            "{% macro f() %}{% if 1 %}{% for x in [1] if not [f()] %}{% endfor %}{% endif %}{% endmacro %}{{ f() }}",
            ErrorKind::kBadArgument),
        "");
  }).join();
}

}  // namespace
}  // namespace stretto::jinja
