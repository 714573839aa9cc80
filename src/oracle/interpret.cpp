#include "oracle/interpret.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "formats/cache_formats.h"
#include "formats/formats.h"

namespace stretto::oracle {

uint64_t Machine::rows(ValueId id) const {
  return tables()[id].rows == Rows::kTokens ? step.tokens.size() : step.outputs.size();
}

const std::vector<float>& Machine::weight_row(WeightId id, uint64_t r) {
  const WeightInfo& info = tables()[id];
  const auto index = static_cast<size_t>(id.index);
  const std::byte* base = program->bindings[index].contiguous(info.type);
  if (base == nullptr) base = gathered[index].data();
  row.resize(info.shape.cols());
  decode_row(info.type, base + r * row_bytes(info.type, info.shape.cols()), info.shape.cols(), row.data());
  return row;
}

void interpret(Machine& m, const Embed& op) {
  const uint64_t d = m.tables()[op.out].width;
  std::vector<double>& out = m.value(op.out);
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const std::vector<float>& row = m.weight_row(op.table, static_cast<uint64_t>(m.step.tokens[t]));
    for (uint64_t i = 0; i < d; ++i) out[t * d + i] = static_cast<double>(op.scale) * row[i];
  }
}

void interpret(Machine& m, const RmsNorm& op) {
  const std::vector<double>& x = m.value(op.x);
  std::vector<double>& out = m.value(op.out);
  const std::vector<float> weight = op.weight ? m.weight_row(op.weight, 0) : std::vector<float>(op.group, 1.0F);
  for (size_t base = 0; base < out.size(); base += op.group) {
    double sum = 0;
    for (uint64_t i = 0; i < op.group; ++i) sum += x[base + i] * x[base + i];
    const double scale = 1 / std::sqrt(sum / static_cast<double>(op.group) + static_cast<double>(op.eps));
    for (uint64_t i = 0; i < op.group; ++i) out[base + i] = x[base + i] * scale * weight[i];
  }
}

void interpret(Machine& m, const Linear& op) {
  const uint64_t n_in = m.tables()[op.x].width, n_out = m.tables()[op.out].width, rows = m.rows(op.x);
  const std::vector<double>& x = m.value(op.x);
  std::vector<double>& out = m.value(op.out);
  const std::vector<float> bias = op.bias ? m.weight_row(op.bias, 0) : std::vector<float>();
  for (uint64_t o = 0; o < n_out; ++o) {
    const std::vector<float>& w = m.weight_row(op.w, o);
    for (uint64_t r = 0; r < rows; ++r) {
      double sum = bias.empty() ? 0 : bias[o];
      for (uint64_t i = 0; i < n_in; ++i) sum += w[i] * x[r * n_in + i];
      out[r * n_out + o] = sum;
    }
  }
}

void interpret(Machine& m, const Add& op) {
  const std::vector<double>&a = m.value(op.a), &b = m.value(op.b);
  std::vector<double>& out = m.value(op.out);
  for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] + b[i];
}

void interpret(Machine& m, const GatedAct& op) {
  const std::vector<double>&gate = m.value(op.gate), &up = m.value(op.up);
  std::vector<double>& out = m.value(op.out);
  for (size_t i = 0; i < out.size(); ++i) {
    const double z = gate[i];
    const double activated = op.act == Activation::kSilu
                                 ? z / (1 + std::exp(-z))
                                 : 0.5 * z * (1 + std::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z)));
    out[i] = activated * up[i];
  }
}

void interpret(Machine& m, const Rope& op) {
  const uint64_t width = m.tables()[op.x].width, half = op.table->inv_freq.size();
  const std::vector<double>& x = m.value(op.x);
  std::vector<double>& out = m.value(op.out);
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const auto position = static_cast<double>(m.step.position + t);
    double temperature = 1;
    if (op.apply_temperature)
      temperature += op.table->temperature_beta * std::log(1 + std::floor(position / op.table->temperature_context));
    for (uint64_t head = 0; head < width; head += op.head_dim) {
      const size_t base = t * width + head;
      for (uint64_t i = 0; i < op.head_dim; ++i) out[base + i] = x[base + i] * temperature;
      for (uint64_t i = 0; i < half; ++i) {
        const double angle = position * op.table->inv_freq[i], scale = op.table->mscale * temperature;
        const double c = std::cos(angle) * scale, s = std::sin(angle) * scale;
        const double a = x[base + i], b = x[base + half + i];
        out[base + i] = a * c - b * s;
        out[base + half + i] = a * s + b * c;
      }
    }
  }
}

void interpret(Machine& m, const KvAppend& op) {
  const auto append = [&](ValueId from, StateId to) {
    const StateInfo& cache = m.tables()[to];
    std::vector<double> x = m.value(from);
    if (is_8_bit_cache_type(cache.type)) {
      std::vector<float> rounded(x.begin(), x.end());
      round_to_cache(cache.type, rounded.data(), rounded.size());
      x.assign(rounded.begin(), rounded.end());
    }
    std::copy(x.begin(), x.end(), m.state(to).begin() + static_cast<int64_t>(m.step.position * cache.width));
  };
  append(op.k, op.k_cache);
  append(op.v, op.v_cache);
}

void interpret(Machine& m, const Attention& op) {
  const uint64_t d = op.head_dim, q_width = op.n_heads * d, kv_width = op.n_kv_heads * d;
  const std::vector<double>&q = m.value(op.q), &k = m.state(op.k_cache), &v = m.state(op.v_cache);
  std::vector<double>& out = m.value(op.out);
  std::vector<double> p;
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const uint64_t position = m.step.position + t;
    const uint64_t first = op.window != 0 && position + 1 > op.window ? position + 1 - op.window : 0;
    for (uint64_t h = 0; h < op.n_heads; ++h) {
      const uint64_t g = h / (op.n_heads / op.n_kv_heads);
      const double* query = &q[t * q_width + h * d];
      p.assign(position + 1 - first, 0);
      for (uint64_t j = first; j <= position; ++j)
        p[j - first] = op.scale * std::inner_product(query, query + d, &k[j * kv_width + g * d], 0.0);
      const double top = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& s : p) sum += s = std::exp(s - top);
      double* result = &out[t * q_width + h * d];
      std::fill(result, result + d, 0.0);
      for (uint64_t j = first; j <= position; ++j)
        for (uint64_t i = 0; i < d; ++i) result[i] += p[j - first] / sum * v[j * kv_width + g * d + i];
    }
  }
}

void interpret(Machine& m, const TakeOutputs& op) {
  const uint64_t width = m.tables()[op.x].width;
  const std::vector<double>& x = m.value(op.x);
  std::vector<double>& out = m.value(op.out);
  for (size_t o = 0; o < m.step.outputs.size(); ++o)
    std::copy_n(x.begin() + static_cast<int64_t>(static_cast<uint64_t>(m.step.outputs[o]) * width), width,
                out.begin() + static_cast<int64_t>(o * width));
}

void interpret(Machine& m, const RouterTopK& op) {
  const uint64_t n = m.tables()[op.logits].width, rows = m.rows(op.logits);
  const std::vector<double>& logits = m.value(op.logits);
  std::vector<double>&ids = m.value(op.ids), &weights = m.value(op.weights);
  std::vector<double> p(n);
  std::vector<uint64_t> order(n);
  for (uint64_t r = 0; r < rows; ++r) {
    const double* z = &logits[r * n];
    const double top = *std::max_element(z, z + n);
    double all = 0, chosen = 0;
    for (uint64_t i = 0; i < n; ++i) all += p[i] = std::exp(z[i] - top);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint64_t a, uint64_t b) { return z[a] > z[b]; });
    for (uint64_t j = 0; j < op.top_k; ++j) chosen += p[order[j]] / all;
    const double divisor = op.renormalise ? std::max(chosen, kRouterSumFloor) : 1;
    for (uint64_t j = 0; j < op.top_k; ++j) {
      ids[r * op.top_k + j] = static_cast<double>(order[j]);
      weights[r * op.top_k + j] = static_cast<double>(op.scale) * p[order[j]] / all / divisor;
    }
  }
}

void interpret(Machine& m, const ExpertLinear& op) {
  const uint64_t n_in = op.n_in(m.tables()), n_out = op.n_out(m.tables()), k = op.top_k(m.tables());
  const uint64_t x_width = m.tables()[op.x].width, x_step = op.shared(m.tables()) ? 0 : n_in;
  const std::vector<double>&x = m.value(op.x), &ids = m.value(op.ids);
  std::vector<double>& out = m.value(op.out);
  for (uint64_t r = 0; r < m.rows(op.x); ++r)
    for (uint64_t j = 0; j < k; ++j) {
      const double* in = &x[r * x_width + j * x_step];
      const auto expert = static_cast<uint64_t>(ids[r * k + j]);
      for (uint64_t o = 0; o < n_out; ++o) {
        const std::vector<float>& w = m.weight_row(op.w, expert * n_out + o);
        double sum = 0;
        for (uint64_t i = 0; i < n_in; ++i) sum += w[i] * in[i];
        out[(r * k + j) * n_out + o] = sum;
      }
    }
}

void interpret(Machine& m, const ExpertSum& op) {
  const uint64_t width = m.tables()[op.out].width, k = m.tables()[op.weights].width;
  const std::vector<double>&x = m.value(op.x), &weights = m.value(op.weights);
  std::vector<double>& out = m.value(op.out);
  for (uint64_t r = 0; r < m.rows(op.x); ++r)
    for (uint64_t i = 0; i < width; ++i) {
      double sum = 0;
      for (uint64_t j = 0; j < k; ++j) sum += weights[r * k + j] * x[(r * k + j) * width + i];
      out[r * width + i] = sum;
    }
}

void interpret(Machine& m, const StateRead& op) {
  const uint64_t width = m.tables()[op.state].width;
  const std::vector<double>& state = m.state(op.state);
  std::vector<double>& out = m.value(op.out);
  for (size_t t = 0; t < m.step.tokens.size(); ++t)
    for (uint64_t i = 0; i < width; ++i) {
      const uint64_t position = m.step.position + t;
      out[t * width + i] = position < op.lag ? 0 : state[(position - op.lag) * width + i];
    }
}

void interpret(Machine& m, const StateWrite& op) {
  const std::vector<double>& x = m.value(op.x);
  const uint64_t first = m.step.position * m.tables()[op.state].width;
  std::copy(x.begin(), x.end(), m.state(op.state).begin() + static_cast<int64_t>(first));
}

}  // namespace stretto::oracle
