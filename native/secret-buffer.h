// Memory for the vTPM key and all that it can be computed from: one per value, alive only inside one operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tvmmp {

// Pages of its own between two guard pages: locked (never swapped), left out of core dumps and of child processes,
// zeroed before they are given back. Move-only, so that there is never a second copy by accident.
class SecretBuffer {
 public:
  // Throws OperationError("internal") when the memory cannot be locked (RLIMIT_MEMLOCK): better no key than a swapped one.
  explicit SecretBuffer(size_t size);
  ~SecretBuffer();
  SecretBuffer(SecretBuffer&& other) noexcept;
  SecretBuffer& operator=(SecretBuffer&&) = delete;
  SecretBuffer(const SecretBuffer&) = delete;
  SecretBuffer& operator=(const SecretBuffer&) = delete;

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<uint8_t> bytes() { return {data_, size_}; }
  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  uint8_t* pages_ = nullptr;
  size_t pages_bytes_ = 0;
};

// The vTPM passphrase as libvirt and swtpm want it: lower-case hexadecimal of the 32 raw bytes (SPEC 5.1).
SecretBuffer HexOf(const SecretBuffer& raw);

}  // namespace tvmmp
