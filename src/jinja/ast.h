// The parsed template. Nodes are plain data; the interpreter switches on `kind`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "jinja/arithmetic.h"
#include "jinja/scope.h"
#include "jinja/value.h"

namespace stretto::jinja {

struct Filter;
struct Test;

enum class ExpressionKind : uint8_t {
  kConstant,
  kName,
  kSequence,
  kDict,
  kUnary,
  kArithmetic,
  kConcat,
  kLogic,
  kComparison,
  kConditional,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
};

struct Expression {
  Expression(ExpressionKind k, uint32_t byte) : kind(k), at(byte) {}
  virtual ~Expression() = default;

  ExpressionKind kind;
  uint16_t depth = 0;  // of the tree below, bounded by the parser: trees are walked and freed by recursion
  uint32_t at;         // byte in the source
};
using ExpressionPtr = std::unique_ptr<Expression>;

template <ExpressionKind kKind>
struct ExpressionOf : Expression {
  explicit ExpressionOf(uint32_t byte) : Expression(kKind, byte) {}
};

struct ConstantExpression : ExpressionOf<ExpressionKind::kConstant> {
  using ExpressionOf::ExpressionOf;
  Value value;
};

struct NameExpression : ExpressionOf<ExpressionKind::kName> {
  using ExpressionOf::ExpressionOf;
  Symbol name = 0;
};

struct SequenceExpression : ExpressionOf<ExpressionKind::kSequence> {
  using ExpressionOf::ExpressionOf;
  bool is_tuple = false;
  std::vector<ExpressionPtr> items;
};

struct DictExpression : ExpressionOf<ExpressionKind::kDict> {
  using ExpressionOf::ExpressionOf;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};

struct UnaryExpression : ExpressionOf<ExpressionKind::kUnary> {
  using ExpressionOf::ExpressionOf;
  UnaryOp op = UnaryOp::kNot;
  ExpressionPtr operand;
};

// Operators of one precedence, applied from left to right.
struct ArithmeticExpression : ExpressionOf<ExpressionKind::kArithmetic> {
  using ExpressionOf::ExpressionOf;
  struct Step {
    BinaryOp op;
    uint32_t at;
    ExpressionPtr operand;
  };
  ExpressionPtr first;
  std::vector<Step> steps;
};

// a ~ b ~ c
struct ConcatExpression : ExpressionOf<ExpressionKind::kConcat> {
  using ExpressionOf::ExpressionOf;
  std::vector<ExpressionPtr> parts;
};

// a or b or c: the first operand that decides, else the last.
struct LogicExpression : ExpressionOf<ExpressionKind::kLogic> {
  using ExpressionOf::ExpressionOf;
  bool is_or = false;
  std::vector<ExpressionPtr> operands;
};

enum class CompareOp : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

// a < b < c: every neighbouring pair.
struct ComparisonExpression : ExpressionOf<ExpressionKind::kComparison> {
  using ExpressionOf::ExpressionOf;
  struct Step {
    CompareOp op;
    uint32_t at;
    ExpressionPtr operand;
  };
  ExpressionPtr first;
  std::vector<Step> steps;
};

// `when_true if test else when_false`; undefined without else.
struct ConditionalExpression : ExpressionOf<ExpressionKind::kConditional> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr test;
  ExpressionPtr when_true;
  ExpressionPtr when_false;  // may be null
};

struct AttributeExpression : ExpressionOf<ExpressionKind::kAttribute> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr object;
  Text name;
};

struct ItemExpression : ExpressionOf<ExpressionKind::kItem> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr object;
  ExpressionPtr key;
};

struct SliceExpression : ExpressionOf<ExpressionKind::kSlice> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  // null if not written
};

struct ArgumentExpressions {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<Text, ExpressionPtr>> named;
  ExpressionPtr spread_list;  // *list
  ExpressionPtr spread_dict;  // **dict
};

struct CallExpression : ExpressionOf<ExpressionKind::kCall> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr callee;
  ArgumentExpressions arguments;
};

struct FilterExpression : ExpressionOf<ExpressionKind::kFilter> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr input;             // null: the body of a filter block or block set
  const Filter* filter = nullptr;  // null: there is no such filter, an error if this is evaluated
  std::string name;
  ArgumentExpressions arguments;
};

struct TestExpression : ExpressionOf<ExpressionKind::kTest> {
  using ExpressionOf::ExpressionOf;
  ExpressionPtr input;
  const Test* test = nullptr;  // null: there is no such test, an error if this is evaluated
  std::string name;
  bool is_negated = false;
  ArgumentExpressions arguments;
};

// Where `set` and `for` put a value: a name, names in parentheses, or an attribute of a namespace.
struct Target {
  enum class Kind : uint8_t { kName, kTuple, kAttribute };
  Kind kind = Kind::kName;
  uint32_t at = 0;
  Symbol name = 0;
  Text attribute;
  std::vector<Target> items;
};

enum class StatementKind : uint8_t {
  kText,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kBreak,
  kContinue,
  kGroup,
};

struct Statement {
  Statement(StatementKind k, uint32_t byte) : kind(k), at(byte) {}
  virtual ~Statement() = default;

  StatementKind kind;
  uint32_t at;
};
using StatementPtr = std::unique_ptr<Statement>;

struct Body {
  std::vector<StatementPtr> statements;
  // A macro or call block inside keeps the scopes around it, so they must outlive the body.
  bool is_captured = false;
};

template <StatementKind kKind>
struct StatementOf : Statement {
  explicit StatementOf(uint32_t byte) : Statement(kKind, byte) {}
};

struct TextStatement : StatementOf<StatementKind::kText> {
  using StatementOf::StatementOf;
  std::string text;
};

struct OutputStatement : StatementOf<StatementKind::kOutput> {
  using StatementOf::StatementOf;
  ExpressionPtr value;
};

struct IfStatement : StatementOf<StatementKind::kIf> {
  using StatementOf::StatementOf;
  std::vector<std::pair<ExpressionPtr, Body>> branches;  // if and elif
  Body otherwise;
};

struct ForStatement : StatementOf<StatementKind::kFor> {
  using StatementOf::StatementOf;
  Target target;
  ExpressionPtr items;
  ExpressionPtr condition;  // may be null
  bool is_recursive = false;
  bool uses_loop = false;  // the body reads `loop`
  Body body;
  Body otherwise;
};

struct SetStatement : StatementOf<StatementKind::kSet> {
  using StatementOf::StatementOf;
  Target target;
  ExpressionPtr value;
};

struct SetBlockStatement : StatementOf<StatementKind::kSetBlock> {
  using StatementOf::StatementOf;
  Target target;
  ExpressionPtr filter;  // a chain of filters over the body; may be null
  Body body;
};

struct Parameter {
  Symbol name;
  Text text;
  ExpressionPtr fallback;  // may be null
};

struct MacroStatement : StatementOf<StatementKind::kMacro> {
  using StatementOf::StatementOf;
  Symbol name = 0;
  Text text;
  std::vector<Parameter> parameters;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  Body body;
};

struct CallBlockStatement : StatementOf<StatementKind::kCallBlock> {
  using StatementOf::StatementOf;
  std::unique_ptr<MacroStatement> caller;
  ExpressionPtr call;  // a CallExpression
};

struct FilterBlockStatement : StatementOf<StatementKind::kFilterBlock> {
  using StatementOf::StatementOf;
  ExpressionPtr filter;
  Body body;
};

struct BreakStatement : StatementOf<StatementKind::kBreak> {
  using StatementOf::StatementOf;
};

struct ContinueStatement : StatementOf<StatementKind::kContinue> {
  using StatementOf::StatementOf;
};

// {% generation %}
struct GroupStatement : StatementOf<StatementKind::kGroup> {
  using StatementOf::StatementOf;
  Body body;
};

// The names that the interpreter itself binds.
struct KnownNames {
  Symbol loop, caller, varargs, kwargs;
};

struct Program {
  std::string name;
  std::string source;
  std::vector<Text> names;  // by Symbol
  KnownNames known{};
  Body body;
};

}  // namespace stretto::jinja
