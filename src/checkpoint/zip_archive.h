// ZIP archives whose members are stored, not compressed: what torch.save writes. (Low-bit checkpoint specification,
// section 6.1.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stretto {

struct ZipMember {
  std::string name;
  std::span<const std::byte> bytes;  // in the archive
  uint32_t crc32 = 0;                // as stated, not verified here
};

// The members in the order of the central directory, none overlapping another, no name twice. Throws
// Error(kInvalidModel), `label` in its message: an archive in several parts, compressed or encrypted members, headers
// that contradict each other or reach outside.
std::vector<ZipMember> parse_zip(std::span<const std::byte> file, std::string_view label);

// CRC-32 of ZIP (polynomial 0xEDB88320, reflected).
uint32_t crc32(std::span<const std::byte> bytes);

}  // namespace stretto
