// Whom a vTPM key is sealed for: what of the public key goes into the seal (SPEC 5.3, 15).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "p256.h"

namespace tvmmp {

struct Recipient {
  std::string_view label;               // tells the kinds of recipients apart
  std::array<uint8_t, 32> wire_digest;  // SHA-256 of the public key as it is told
  Point point;
};

}  // namespace tvmmp
