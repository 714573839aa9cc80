#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "jinja/filters.h"
#include "jinja/parser.h"

namespace stretto::jinja {
namespace {

template <class Node>
std::unique_ptr<Node> make_node(uint32_t at) {
  return std::make_unique<Node>(at);
}

ExpressionPtr make_constant(uint32_t at, Value value) {
  auto node = make_node<ConstantExpression>(at);
  node->value = std::move(value);
  return node;
}

}  // namespace

ExpressionPtr Parser::parse_expression() {
  const Nesting nesting(*this);
  const size_t n_unknown = unknown_.size();
  ExpressionPtr value = parse_or();
  while (is_name("if")) {
    auto node = make_node<ConditionalExpression>(current().at);
    advance();
    unknown_.resize(n_unknown);  // what stands before `if` depends on it
    const Conditional conditional(*this);
    node->when_true = child(*node, std::move(value));
    node->test = child(*node, parse_or());
    if (skip_name("else")) node->when_false = child(*node, parse_expression());
    value = std::move(node);
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr first = parse_and();
  if (!is_name("or")) return first;
  auto node = make_node<LogicExpression>(current().at);
  node->is_or = true;
  node->operands.push_back(child(*node, std::move(first)));
  while (skip_name("or")) node->operands.push_back(child(*node, parse_and()));
  return node;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr first = parse_not();
  if (!is_name("and")) return first;
  auto node = make_node<LogicExpression>(current().at);
  node->operands.push_back(child(*node, std::move(first)));
  while (skip_name("and")) node->operands.push_back(child(*node, parse_not()));
  return node;
}

ExpressionPtr Parser::parse_not() {
  if (!is_name("not")) return parse_comparison();
  const Nesting nesting(*this);
  auto node = make_node<UnaryExpression>(current().at);
  advance();
  node->op = UnaryOp::kNot;
  node->operand = child(*node, parse_not());
  return node;
}

bool Parser::parse_compare_op(CompareOp& op) {
  constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual},
  };
  for (const auto& [text, value] : kOps) {
    if (!skip_operator(text)) continue;
    op = value;
    return true;
  }
  if (skip_name("in")) {
    op = CompareOp::kIn;
    return true;
  }
  if (!is_name("not") || peek().kind != TokenKind::kName || peek().text != "in") return false;
  advance();
  advance();
  op = CompareOp::kNotIn;
  return true;
}

ExpressionPtr Parser::parse_comparison() {
  ExpressionPtr first = parse_sum();
  std::unique_ptr<ComparisonExpression> node;
  while (true) {
    const uint32_t at = current().at;
    CompareOp op;
    if (!parse_compare_op(op)) break;
    if (node == nullptr) {
      node = make_node<ComparisonExpression>(at);
      node->first = child(*node, std::move(first));
    }
    node->steps.push_back({op, at, child(*node, parse_sum())});
  }
  if (node == nullptr) return first;
  return node;
}

template <size_t kCount>
ExpressionPtr Parser::parse_arithmetic(ExpressionPtr (Parser::*operand)(),
                                       const std::pair<std::string_view, BinaryOp> (&ops)[kCount]) {
  ExpressionPtr first = (this->*operand)();
  std::unique_ptr<ArithmeticExpression> node;
  while (true) {
    const uint32_t at = current().at;
    const auto* op = ops;
    while (op != ops + kCount && !is_operator(op->first)) ++op;
    if (op == ops + kCount) break;
    advance();
    if (node == nullptr) {
      node = make_node<ArithmeticExpression>(at);
      node->first = child(*node, std::move(first));
    }
    node->steps.push_back({op->second, at, child(*node, (this->*operand)())});
  }
  if (node == nullptr) return first;
  return node;
}

ExpressionPtr Parser::parse_sum() {
  constexpr std::pair<std::string_view, BinaryOp> kOps[] = {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSubtract}};
  return parse_arithmetic(&Parser::parse_concat, kOps);
}

ExpressionPtr Parser::parse_concat() {
  ExpressionPtr first = parse_product();
  if (!is_operator("~")) return first;
  auto node = make_node<ConcatExpression>(current().at);
  node->parts.push_back(child(*node, std::move(first)));
  while (skip_operator("~")) node->parts.push_back(child(*node, parse_product()));
  return node;
}

ExpressionPtr Parser::parse_product() {
  constexpr std::pair<std::string_view, BinaryOp> kOps[] = {
      {"*", BinaryOp::kMultiply}, {"/", BinaryOp::kDivide}, {"//", BinaryOp::kFloorDivide}, {"%", BinaryOp::kModulo}};
  return parse_arithmetic(&Parser::parse_power, kOps);
}

ExpressionPtr Parser::parse_power() {
  constexpr std::pair<std::string_view, BinaryOp> kOps[] = {{"**", BinaryOp::kPower}};
  return parse_arithmetic(&Parser::parse_unary_with_filters, kOps);
}

ExpressionPtr Parser::parse_unary(bool with_filters) {
  ExpressionPtr value;
  if (is_operator("-") || is_operator("+")) {
    const Nesting nesting(*this);
    auto node = make_node<UnaryExpression>(current().at);
    node->op = is_operator("-") ? UnaryOp::kNegate : UnaryOp::kPlus;
    advance();
    node->operand = child(*node, parse_unary(false));
    value = std::move(node);
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::parse_primary() {
  switch (current().kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString:
      return parse_string();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return parse_number();
    default:
      break;
  }
  if (skip_operator("(")) {
    ExpressionPtr inner = parse_tuple(true, true);
    expect_operator(")");
    return inner;
  }
  if (is_operator("[")) return parse_list();
  if (is_operator("{")) return parse_dict();
  unexpected("an expression");
}

ExpressionPtr Parser::parse_name() {
  const Token& token = current();
  advance();
  if (token.text == "true" || token.text == "True") return make_constant(token.at, Value::boolean(true));
  if (token.text == "false" || token.text == "False") return make_constant(token.at, Value::boolean(false));
  if (token.text == "none" || token.text == "None") return make_constant(token.at, Value::none());
  if (token.text == "loop" && !loops_.empty()) loops_.back()->uses_loop = true;
  for (MacroStatement* macro : macros_) {
    if (token.text == "caller") macro->uses_caller = true;
    if (token.text == "varargs") macro->uses_varargs = true;
    if (token.text == "kwargs") macro->uses_kwargs = true;
  }
  auto node = make_node<NameExpression>(token.at);
  node->name = symbol(token.text);
  return node;
}

ExpressionPtr Parser::parse_string() {
  const uint32_t at = current().at;
  std::string text;
  for (; current().kind == TokenKind::kString; advance()) text += current().value;
  return make_constant(at, Value::string(make_text(std::move(text))));
}

ExpressionPtr Parser::parse_number() {
  const Token& token = current();
  std::string digits;
  for (const char c : token.text) {
    if (c != '_') digits += c;
  }
  if (token.kind == TokenKind::kFloat) {
    double value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (parsed.ec == std::errc::result_out_of_range) {
      value = digits.find("e-") == std::string::npos && digits.find("E-") == std::string::npos
                  ? std::numeric_limits<double>::infinity()
                  : 0.0;
    }
    advance();
    return make_constant(token.at, Value::number(value));
  }
  const char letter = digits.size() > 2 ? static_cast<char>(digits[1] | 0x20) : '\0';
  const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
  uint64_t value = 0;
  const char* first = digits.data() + (base == 10 ? 0 : 2);
  if (std::from_chars(first, digits.data() + digits.size(), value, base).ec != std::errc()) {
    fail("an integer is outside 64 bits");
  }
  advance();
  return make_constant(token.at, Value::integer(value));
}

ExpressionPtr Parser::parse_list() {
  auto node = make_node<SequenceExpression>(current().at);
  advance();
  while (!is_operator("]")) {
    if (!node->items.empty()) expect_operator(",");
    if (is_operator("]")) break;
    node->items.push_back(child(*node, parse_expression()));
  }
  advance();
  return node;
}

ExpressionPtr Parser::parse_dict() {
  auto node = make_node<DictExpression>(current().at);
  advance();
  while (!is_operator("}")) {
    if (!node->entries.empty()) expect_operator(",");
    if (is_operator("}")) break;
    ExpressionPtr key = child(*node, parse_expression());
    expect_operator(":");
    node->entries.emplace_back(std::move(key), child(*node, parse_expression()));
  }
  advance();
  return node;
}

bool Parser::at_tuple_end(std::string_view end_name) const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd || is_operator(")") ||
         (!end_name.empty() && is_name(end_name));
}

ExpressionPtr Parser::parse_tuple(bool with_conditionals, bool in_parentheses, std::string_view end_name) {
  const Nesting nesting(*this);
  const uint32_t at = current().at;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end(end_name)) {
    items.push_back(with_conditionals ? parse_expression() : parse_or());
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!in_parentheses) unexpected("an expression");
  }
  auto node = make_node<SequenceExpression>(at);
  node->is_tuple = true;
  for (ExpressionPtr& item : items) node->items.push_back(child(*node, std::move(item)));
  return node;
}

}  // namespace stretto::jinja
