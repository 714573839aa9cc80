// Walks a parsed template.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "jinja/arguments.h"
#include "jinja/ast.h"
#include "jinja/runtime.h"

namespace stretto::jinja {

// One rendering of one program.
class Interpreter {
 public:
  Interpreter(const Program& program, Runtime& runtime) : program_(program), runtime_(runtime) {}

  // Throws RenderFailure; runtime.at then says where.
  std::string render(const nlohmann::ordered_json& context);

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };

  // Statements (interpreter.cpp). `scope` is null at the template's own level.
  void bind_context(const nlohmann::ordered_json& context);
  Flow execute(const Body& body, Scope* scope);
  Flow execute(const Statement& statement, Scope* scope);
  Flow execute_if(const IfStatement& node, Scope* scope);
  Flow execute_for(const ForStatement& node, Scope* scope);
  void execute_set_block(const SetBlockStatement& node, Scope* scope, Flow& flow);
  void execute_filter_block(const FilterBlockStatement& node, Scope* scope, Flow& flow);
  void define_macro(const MacroStatement& node, Scope* scope);
  void execute_call_block(const CallBlockStatement& node, Scope* scope);
  void emit(std::string_view text);
  // The output of `body` in a scope of its own, as a string; `flow` receives how it ended.
  Value capture(const Body& body, Scope* scope, Flow& flow);
  void set_name(Symbol name, Value value, Scope* scope);
  void assign(const Target& target, const Value& value, Scope* scope);

  // Loops (interpreter_loops.cpp).
  Flow run_loop(const ForStatement& node, const Value& items, Scope* scope, uint32_t depth0);
  Flow run_otherwise(const ForStatement& node, Scope* scope);
  Flow run_plain_loop(const ForStatement& node, std::vector<Value> items, Scope* scope);
  Flow run_visible_loop(const ForStatement& node, std::vector<Value> items, Scope* scope, uint32_t depth0);
  bool accepts(const ForStatement& node, const Value& item, Scope* scope);
  class OutputBuffer;

  // Expressions (interpreter_expressions.cpp).
  Value evaluate(const Expression& e, Scope* scope);
  Value evaluate_name(const NameExpression& e, Scope* scope);
  Value evaluate_sequence(const SequenceExpression& e, Scope* scope);
  Value evaluate_dict(const DictExpression& e, Scope* scope);
  Value evaluate_arithmetic(const ArithmeticExpression& e, Scope* scope);
  Value evaluate_concat(const ConcatExpression& e, Scope* scope);
  Value evaluate_logic(const LogicExpression& e, Scope* scope);
  Value evaluate_comparison(const ComparisonExpression& e, Scope* scope);
  bool is_member(const Value& item, const Expression& container, Scope* scope);
  Value evaluate_conditional(const ConditionalExpression& e, Scope* scope);
  Value evaluate_item(const ItemExpression& e, Scope* scope);
  Value evaluate_slice(const SliceExpression& e, Scope* scope);
  Value evaluate_filter(const FilterExpression& e, Scope* scope, const Value* block = nullptr);
  Value evaluate_test(const TestExpression& e, Scope* scope);

  // Calls (interpreter_calls.cpp).
  Value evaluate_call(const CallExpression& e, Scope* scope, const Value* caller = nullptr);
  Arguments evaluate_arguments(const ArgumentExpressions& e, Scope* scope);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const MacroStatement& macro, Scope* closure, const Arguments& arguments);
  void bind_parameters(const MacroStatement& macro, const Arguments& arguments, Scope& scope);

  const Program& program_;
  Runtime& runtime_;
  std::vector<Value> names_;  // the template's own level, by Symbol; undefined if not set
  std::string* out_ = nullptr;
  uint32_t macro_depth_ = 0;
};

// Collects output into a buffer of its own while it lives.
class Interpreter::OutputBuffer {
 public:
  explicit OutputBuffer(Interpreter& interpreter) : interpreter_(interpreter), outer_(interpreter.out_) {
    interpreter_.out_ = &text_;
  }
  ~OutputBuffer() {
    interpreter_.out_ = outer_;
    interpreter_.runtime_.release(text_.size());
  }
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;

  // The text as a value, once.
  Value take() {
    const size_t size = text_.size();  // counted by emit()
    Value value = interpreter_.runtime_.text(std::move(text_));
    interpreter_.runtime_.release(size);
    text_.clear();
    return value;
  }

 private:
  Interpreter& interpreter_;
  std::string* outer_;
  std::string text_;
};

// A scope for one body: on the stack or, when something inside may keep it, in the runtime.
class BodyScope {
 public:
  BodyScope(Runtime& runtime, const Body& body, Scope* parent)
      : local_(parent), scope_(body.is_captured ? &runtime.new_scope(parent) : &local_) {}
  BodyScope(const BodyScope&) = delete;
  BodyScope& operator=(const BodyScope&) = delete;

  Scope& operator*() { return *scope_; }
  Scope* get() { return scope_; }

 private:
  Scope local_;
  Scope* scope_;
};

}  // namespace stretto::jinja
