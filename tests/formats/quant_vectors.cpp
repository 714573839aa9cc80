#include "formats/quant_vectors.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace stretto::test {
namespace {

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> out(hex.size() / 2);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::byte>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return out;
}

std::vector<float> floats_from_hex(const std::string& hex) {
  const std::vector<std::byte> bytes = from_hex(hex);
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

QuantVectors load() {
  std::ifstream in(STRETTO_TEST_DATA "/quant_vectors.json");
  if (!in) throw std::runtime_error("tests/data/quant_vectors.json is missing");
  const auto json = nlohmann::json::parse(in);
  QuantVectors out;
  for (const auto& [key, value] : json.at("inputs").items())
    out.inputs[key] = floats_from_hex(value.at("f32_le_hex").get<std::string>());
  for (const auto& [key, value] : json.at("types").items())
    out.geometry[key] = {value.at("block_elements").get<unsigned>(), value.at("block_bytes").get<unsigned>()};
  for (const auto& v : json.at("vectors")) {
    QuantVector vector;
    vector.type = v.at("type").get<std::string>();
    vector.input = v.at("input").get<std::string>();
    vector.importance = !v.at("imatrix").is_null();
    vector.bytes = from_hex(v.at("quant_hex").get<std::string>());
    for (const auto& value : v.at("dequant")) vector.values.push_back(static_cast<float>(value.get<double>()));
    out.vectors.push_back(std::move(vector));
  }
  const auto& activation = json.at("activation");
  out.activation = floats_from_hex(activation.at("f32_le_hex").get<std::string>());
  for (const auto& d : activation.at("dots"))
    out.dots.push_back({d.at("weight_type").get<std::string>(), d.at("weight_input").get<std::string>(),
                        d.at("dot_unquantised_f64").get<double>()});
  return out;
}

}  // namespace

const QuantVectors& quant_vectors() {
  static const QuantVectors vectors = load();
  return vectors;
}

}  // namespace stretto::test
