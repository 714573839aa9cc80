// tests/data/quant_vectors.json: rows of 256 values quantised and dequantised by an independent implementation.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace stretto::test {

struct QuantVector {
  std::string type;
  std::string input;  // key of QuantVectors::inputs
  bool importance;    // quantised with an importance vector
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

struct DotVector {
  std::string weight_type;
  std::string weight_input;
  double of_unquantised;  // binary64 dot product of the two unquantised rows
};

struct QuantVectors {
  std::map<std::string, std::vector<float>> inputs;
  std::map<std::string, std::pair<unsigned, unsigned>> geometry;  // block elements, block bytes
  std::vector<QuantVector> vectors;
  std::vector<float> activation;
  std::vector<DotVector> dots;
};

const QuantVectors& quant_vectors();

}  // namespace stretto::test
