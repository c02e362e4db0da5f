// The sealed key of SPEC 5.3: the 32 raw bytes of a vTPM key, readable by one TPM in one approved state. The copy in escrow has the same
// form (SPEC 15).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "p256.h"
#include "recipient.h"
#include "secret-buffer.h"

namespace tvmmp {

constexpr size_t kRawKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr size_t kSealedKeyBytes = 1 + kPointBytes + kNonceBytes + kRawKeyBytes + kTagBytes;
using SealedKey = std::array<uint8_t, kSealedKeyBytes>;

// A fresh random vTPM key.
SecretBuffer RandomKey();

// An ephemeral key agreed with a recipient: keys that are sealed under one envelope are opened by one use of the recipient's TPM.
struct Envelope {
  Point point;
  SecretBuffer kek;

  // A fresh one, in software.
  static Envelope To(const Recipient& recipient);
  // That of a sealed key of our own, of which the TPM has computed Z: what is put into it opens with it.
  static Envelope Of(std::span<const uint8_t> sealed, const SecretBuffer& z, const Recipient& recipient);
};

// Seals under an envelope, with a random nonce. `context` is associated data: it must be given again to open.
SealedKey Seal(const SecretBuffer& raw_key, const Envelope& envelope, std::span<const uint8_t> context);

// The ephemeral point in `sealed`, checked to be on the curve. Throws "seal-invalid" for another length, version or point.
Point EphemeralPoint(std::span<const uint8_t> sealed);

// Opens with Z, the x-coordinate that the recipient's TPM computed. Throws "seal-invalid" when anything was altered, or the
// recipient or context is another.
SecretBuffer Open(std::span<const uint8_t> sealed, const SecretBuffer& z, const Recipient& recipient, std::span<const uint8_t> context);

}  // namespace tvmmp
