// What stands for objects in a pickle: allowed names and the fixed meaning of applying them.
#include <algorithm>

#include "base/checked.h"
#include "checkpoint/pickle_machine.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr size_t kMaxRank = 16, kMaxKeyDigits = 12;
// No allowed name takes more; a long tuple applied again and again must not cost its length each time.
constexpr size_t kMaxArguments = 8;

}  // namespace

void PickleMachine::push_global(const std::string& name) {
  const PickleGlobalEntry* const entry = find_pickle_global(name);
  if (entry == nullptr) {
    std::string dotted = name;
    std::replace(dotted.begin(), dotted.end(), ' ', '.');
    refuse("it wants to use {}, which is not allowed: only tensors and plain containers are read", printable(dotted));
  }
  push(add({.kind = PickleKind::kGlobal, .integer = index_of(*entry), .text = name, .items = {}}));
}

void PickleMachine::push_dict() { push(add({.kind = PickleKind::kDict, .ordered = true, .text = {}, .items = {}})); }

void PickleMachine::reduce(PickleId callable, PickleId arguments) {
  if (value(callable).kind != PickleKind::kGlobal) refuse("what is called is no global");
  if (value(arguments).kind != PickleKind::kTuple) refuse("the arguments of a call are no tuple");
  if (value(arguments).items.size() > kMaxArguments)
    refuse("a call with {} arguments, at most {} are read", value(arguments).items.size(), kMaxArguments);
  const std::vector<PickleId> args = value(arguments).items;
  switch (pickle_global(value(callable).integer).meaning) {
    case PickleGlobal::kOrderedDict:
      if (!args.empty()) refuse("OrderedDict with {} arguments, wanted none", args.size());
      return push_dict();
    case PickleGlobal::kRebuildTensor:
      return push_tensor(args);
    case PickleGlobal::kRebuildParameter:
      return push_parameter(args, 3);
    case PickleGlobal::kRebuildParameterWithState:
      return push_parameter(args, 4);
    case PickleGlobal::kSize: {
      const bool fits =
          args.size() == 1 && (value(args[0]).kind == PickleKind::kTuple || value(args[0]).kind == PickleKind::kList);
      if (!fits || value(args[0]).items.size() > kMaxRank)
        refuse("torch.Size of what is no tuple of at most {}", kMaxRank);
      return push_tuple(value(args[0]).items);
    }
    case PickleGlobal::kDevice:
      for (const PickleId a : args)
        if (value(a).kind != PickleKind::kString && value(a).kind != PickleKind::kInt)
          refuse("torch.device of what is neither a string nor an integer");
      push(add({.kind = PickleKind::kNone, .text = {}, .items = {}}));
      return;
    case PickleGlobal::kEncode:
      return push_encoded(args);
    case PickleGlobal::kStorageType:
    case PickleGlobal::kUntyped:
    case PickleGlobal::kOpaque:
      break;
  }
  refuse("{} cannot be called", value(callable).text);
}

void PickleMachine::build(PickleId target, PickleId state) {
  if (value(target).kind != PickleKind::kDict || !value(target).ordered)
    refuse("attributes are set on what is no OrderedDict");
  if (value(state).kind != PickleKind::kDict) refuse("the attributes of an OrderedDict are no dict");
}

void PickleMachine::new_object(PickleId type, PickleId arguments) {
  const bool fits = value(type).kind == PickleKind::kGlobal && value(arguments).kind == PickleKind::kTuple &&
                    value(arguments).items.empty() &&
                    pickle_global(value(type).integer).meaning == PickleGlobal::kOrderedDict;
  if (!fits) refuse("an object is made of what is no OrderedDict without arguments");
  push_dict();
}

int64_t PickleMachine::non_negative(PickleId id, std::string_view what) {
  const PickleValue& v = value(id);
  if (v.kind != PickleKind::kInt) refuse("{} is no integer", what);
  if (v.integer < 0) refuse("{} is {}", what, v.integer);
  return v.integer;
}

// ("storage", storage type, key, location, number of elements)
void PickleMachine::push_storage(PickleId id) {
  const std::vector<PickleId> items = value(id).items;
  const bool shaped = value(id).kind == PickleKind::kTuple && items.size() == 5 &&
                      value(items[0]).kind == PickleKind::kString && value(items[0]).text == "storage" &&
                      value(items[1]).kind == PickleKind::kGlobal && value(items[2]).kind == PickleKind::kString &&
                      value(items[3]).kind == PickleKind::kString;
  if (!shaped) refuse("a persistent id that is no storage of five fields");
  const PickleGlobalEntry& type = pickle_global(value(items[1]).integer);
  if (type.meaning == PickleGlobal::kUntyped) refuse("an untyped storage; save the tensors with typed ones");
  if (type.meaning != PickleGlobal::kStorageType) refuse("{} is no storage type", value(items[1]).text);
  const std::string key = value(items[2]).text;
  if (key.empty() || key.size() > kMaxKeyDigits || key.find_first_not_of("0123456789") != std::string::npos)
    refuse("the storage key \"{}\" is no decimal number", printable(key));
  const auto n = static_cast<uint64_t>(non_negative(items[4], "the size of a storage"));
  out_.storages.push_back({key, type.type, n});
  push(add({.kind = PickleKind::kStorage,
            .integer = static_cast<int64_t>(out_.storages.size()) - 1,
            .text = {},
            .items = {}}));
}

std::vector<uint64_t> PickleMachine::dimensions(PickleId tuple, std::string_view what) {
  if (value(tuple).kind != PickleKind::kTuple) refuse("the {}s of a tensor are no tuple", what);
  const std::vector<PickleId> items = value(tuple).items;
  if (items.size() > kMaxRank) refuse("a tensor of {} dimensions, at most {} are read", items.size(), kMaxRank);
  std::vector<uint64_t> out;
  out.reserve(items.size());
  for (const PickleId item : items) out.push_back(static_cast<uint64_t>(non_negative(item, what)));
  return out;
}

void PickleMachine::require_empty_dict(PickleId id, std::string_view what) {
  if (value(id).kind != PickleKind::kDict || !value(id).items.empty()) refuse("{} are not empty", what);
}

// (storage, offset, size, stride, requires_grad, hooks[, metadata])
void PickleMachine::push_tensor(const std::vector<PickleId>& args) {
  if (args.size() != 6 && args.size() != 7) refuse("a tensor of {} arguments, wanted 6 or 7", args.size());
  if (value(args[0]).kind != PickleKind::kStorage) refuse("a tensor without a storage");
  PickleTensor t{.storage = static_cast<size_t>(value(args[0]).integer),
                 .offset = static_cast<uint64_t>(non_negative(args[1], "the offset of a tensor")),
                 .size = dimensions(args[2], "size"),
                 .stride = dimensions(args[3], "stride")};
  if (value(args[4]).kind != PickleKind::kBool) refuse("requires_grad of a tensor is no bool");
  require_empty_dict(args[5], "the hooks of a tensor");
  if (args.size() == 7 && value(args[6]).kind != PickleKind::kNone && value(args[6]).kind != PickleKind::kDict)
    refuse("the metadata of a tensor is no dict");
  if (t.size.size() != t.stride.size()) refuse("a tensor of {} sizes and {} strides", t.size.size(), t.stride.size());
  const PickleStorage& storage = out_.storages[t.storage];
  uint64_t last = t.offset;
  bool empty = false;
  for (size_t i = 0; i < t.size.size(); ++i) {
    if (t.size[i] == 0) {
      empty = true;
      continue;
    }
    const auto reach = checked_mul(t.size[i] - 1, t.stride[i]);
    const auto sum = reach ? checked_add(last, *reach) : std::nullopt;
    if (!sum) refuse("the strides of a tensor overflow 64 bits");
    last = *sum;
  }
  if (!empty && last >= storage.n_elements)
    refuse("a tensor reaches element {} of a storage of {}", last, storage.n_elements);
  out_.tensors.push_back(std::move(t));
  push(add({.kind = PickleKind::kTensor,
            .integer = static_cast<int64_t>(out_.tensors.size()) - 1,
            .text = {},
            .items = {}}));
}

// (tensor, requires_grad, hooks[, state])
void PickleMachine::push_parameter(const std::vector<PickleId>& args, size_t n_wanted) {
  if (args.size() != n_wanted) refuse("a parameter of {} arguments, wanted {}", args.size(), n_wanted);
  if (value(args[0]).kind != PickleKind::kTensor) refuse("a parameter without a tensor");
  if (value(args[1]).kind != PickleKind::kBool) refuse("requires_grad of a parameter is no bool");
  require_empty_dict(args[2], "the hooks of a parameter");
  push(args[0]);
}

// How protocol 2 writes bytes: (string of code points below 256, "latin1")
void PickleMachine::push_encoded(const std::vector<PickleId>& args) {
  const bool fits = args.size() == 2 && value(args[0]).kind == PickleKind::kString &&
                    value(args[1]).kind == PickleKind::kString && value(args[1]).text == "latin1";
  if (!fits) refuse("_codecs.encode of other than a string and \"latin1\"");
  count_string(value(args[0]).text.size());
  const std::string from = value(args[0]).text;
  std::string bytes;
  for (size_t i = 0; i < from.size(); ++i) {  // valid UTF-8
    const auto c = static_cast<uint8_t>(from[i]);
    if (c >= 0xc4) refuse("_codecs.encode of a character beyond latin1");
    bytes.push_back(c < 0x80 ? from[i] : static_cast<char>((c & 3) << 6 | (static_cast<uint8_t>(from[++i]) & 63)));
  }
  push(add({.kind = PickleKind::kBytes, .text = std::move(bytes), .items = {}}));
}

}  // namespace stretto
