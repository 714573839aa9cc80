#include <fmt/format.h>

#include "jinja/filters.h"
#include "jinja/parser.h"

namespace stretto::jinja {
namespace {

template <class Node>
std::unique_ptr<Node> make_node(uint32_t at) {
  return std::make_unique<Node>(at);
}

}  // namespace

ExpressionPtr Parser::parse_postfix(ExpressionPtr expression) {
  while (true) {
    if (is_operator(".")) {
      expression = parse_attribute(std::move(expression));
    } else if (is_operator("[")) {
      expression = parse_subscript(std::move(expression));
    } else if (is_operator("(")) {
      expression = parse_call(std::move(expression));
    } else {
      return expression;
    }
  }
}

ExpressionPtr Parser::parse_attribute(ExpressionPtr object) {
  advance();
  const uint32_t at = current().at;
  if (current().kind == TokenKind::kInteger) {
    auto node = make_node<ItemExpression>(at);
    node->object = child(*node, std::move(object));
    node->key = child(*node, parse_number());
    return node;
  }
  auto node = make_node<AttributeExpression>(at);
  node->object = child(*node, std::move(object));
  node->name = program_.names[symbol(take_name("an attribute"))];
  return node;
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const uint32_t at = current().at;
  advance();
  ExpressionPtr key;
  if (!is_operator(":")) key = parse_tuple_in_brackets();
  if (!is_operator(":")) {
    expect_operator("]");
    auto node = make_node<ItemExpression>(at);
    node->object = child(*node, std::move(object));
    node->key = child(*node, std::move(key));
    return node;
  }
  advance();
  auto node = make_node<SliceExpression>(at);
  node->object = child(*node, std::move(object));
  if (key != nullptr) node->start = child(*node, std::move(key));
  if (!is_operator(":") && !is_operator("]")) node->stop = child(*node, parse_expression());
  if (skip_operator(":") && !is_operator("]")) node->step = child(*node, parse_expression());
  expect_operator("]");
  return node;
}

ExpressionPtr Parser::parse_tuple_in_brackets() {
  ExpressionPtr first = parse_expression();
  if (!is_operator(",")) return first;
  auto node = make_node<SequenceExpression>(first->at);
  node->is_tuple = true;
  node->items.push_back(child(*node, std::move(first)));
  while (skip_operator(",")) node->items.push_back(child(*node, parse_expression()));
  if (is_operator(":")) fail("a slice cannot follow a comma");
  return node;
}

ExpressionPtr Parser::parse_call(ExpressionPtr callee) {
  auto node = make_node<CallExpression>(callee->at);
  node->callee = child(*node, std::move(callee));
  parse_arguments(*node, node->arguments);
  return node;
}

void Parser::parse_arguments(Expression& parent, ArgumentExpressions& arguments) {
  expect_operator("(");
  bool is_first = true;
  while (!is_operator(")")) {
    if (!is_first) expect_operator(",");
    if (is_operator(")")) break;
    is_first = false;
    if (skip_operator("**")) {
      if (arguments.spread_dict != nullptr) fail("only one '**' argument is allowed");
      arguments.spread_dict = child(parent, parse_expression());
    } else if (arguments.spread_dict != nullptr) {
      fail("no argument may follow a '**' argument");
    } else if (skip_operator("*")) {
      if (arguments.spread_list != nullptr) fail("only one '*' argument is allowed");
      arguments.spread_list = child(parent, parse_expression());
    } else if (current().kind == TokenKind::kName && peek().kind == TokenKind::kOperator && peek().text == "=") {
      Text name = make_text(std::string(take_name("an argument")));
      advance();
      for (const auto& have : arguments.named) {
        if (have.first->bytes == name->bytes) fail(fmt::format("argument '{}' is given twice", name->bytes));
      }
      arguments.named.emplace_back(std::move(name), child(parent, parse_expression()));
    } else {
      if (!arguments.named.empty() || arguments.spread_list != nullptr)
        fail("an argument without a name follows a named one");
      arguments.positional.push_back(child(parent, parse_expression()));
    }
  }
  advance();
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr expression) {
  while (true) {
    if (is_operator("|")) {
      expression = parse_filter_chain(std::move(expression));
    } else if (is_name("is")) {
      expression = parse_test(std::move(expression));
    } else if (is_operator("(")) {
      expression = parse_call(std::move(expression));
    } else {
      return expression;
    }
  }
}

ExpressionPtr Parser::parse_filter_chain(ExpressionPtr expression) {
  while (skip_operator("|")) expression = parse_filter(std::move(expression));
  return expression;
}

ExpressionPtr Parser::parse_filter(ExpressionPtr input) {
  auto node = make_node<FilterExpression>(current().at);
  node->name = take_name("the name of a filter");
  while (skip_operator(".")) node->name += fmt::format(".{}", take_name("the name of a filter"));
  node->filter = find_filter(node->name);
  if (node->filter == nullptr) note_unknown(node->at, fmt::format("there is no filter '{}'", node->name));
  if (input != nullptr) node->input = child(*node, std::move(input));
  if (is_operator("(")) parse_arguments(*node, node->arguments);
  return node;
}

ExpressionPtr Parser::parse_test(ExpressionPtr input) {
  advance();
  auto node = make_node<TestExpression>(current().at);
  node->is_negated = skip_name("not");
  node->at = current().at;
  node->name = take_name("the name of a test");
  while (skip_operator(".")) node->name += fmt::format(".{}", take_name("the name of a test"));
  node->test = find_test(node->name);
  if (node->test == nullptr) note_unknown(node->at, fmt::format("there is no test '{}'", node->name));
  node->input = child(*node, std::move(input));
  if (is_operator("(")) {
    parse_arguments(*node, node->arguments);
    return node;
  }
  const TokenKind kind = current().kind;
  const bool starts_argument = kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
                               kind == TokenKind::kFloat || is_operator("[") || is_operator("{");
  if (!starts_argument || is_name({"else", "or", "and"})) return node;
  if (is_name("is")) fail("tests cannot follow each other; use parentheses");
  node->arguments.positional.push_back(child(*node, parse_postfix(parse_primary())));
  return node;
}

}  // namespace stretto::jinja
