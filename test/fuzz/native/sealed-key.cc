// libFuzzer target: receive keys that a host says it has, and sealed keys (SPEC 5.3). What is a receive key can be sealed to, and
// nothing that was not sealed opens. Input: length of the receive key (2), the receive key, the sealed key.
#include "../../../native/sealed-key.h"

#include <cstdio>
#include <cstdlib>

#include "../../../native/operation-error.h"
#include "../../../native/receive-key.h"

namespace {

using tvmmp::OperationError;

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "property: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t length = static_cast<size_t>(data[0]) << 8 | data[1];
  if (length > size - 2) return 0;
  const std::span<const uint8_t> wire(data + 2, length), sealed(data + 2 + length, size - 2 - length);
  const uint8_t context[] = {0x80};
  static const tvmmp::SecretBuffer z(32), raw_key(tvmmp::kRawKeyBytes);
  try {
    const tvmmp::ReceiveKey key = tvmmp::ReceiveKey::Parse(wire);
    Check(key.name.size() == 34, "a name of 34 bytes");
    const tvmmp::SealedKey made = tvmmp::Seal(raw_key, tvmmp::Envelope::To(key), context);
    Check(tvmmp::EphemeralPoint(made)[0] == 4, "what was sealed has a point");
    const auto point = tvmmp::EphemeralPoint(sealed);
    Check(point[0] == 4, "an uncompressed point");
    Check(tvmmp::Envelope::Of(sealed, z, key).point == point, "the envelope of a sealed key has its point");
    tvmmp::Open(sealed, z, key, context);
    Check(false, "opened what nobody sealed");
  } catch (const OperationError& error) {
    Check(error.code() == "tpm-structure-invalid" || error.code() == "seal-invalid", "the codes of the operation");
  }
  return 0;
}
