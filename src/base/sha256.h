// SHA-256 of bytes in memory (FIPS 180-4), for fingerprints of results; not for secrets.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace stretto {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> data);

}  // namespace stretto
