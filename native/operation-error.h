// What an operation throws on its own thread, to become a JavaScript Error there where the promise is settled.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tvmmp {

// `code` is one of lib/errors.ts' codes. The message and numbers never hold a secret.
class OperationError : public std::runtime_error {
 public:
  OperationError(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}

  static OperationError FromErrno(std::string code, std::string_view what, int error);
  static OperationError FromTpm(std::string code, std::string_view what, uint32_t tpm_code);
  static OperationError FromLibvirt(std::string_view what, int libvirt_code, int libvirt_domain, std::string_view text);

  const std::string& code() const { return code_; }
  const std::optional<uint32_t>& tpm_code() const { return tpm_code_; }
  const std::optional<int>& libvirt_code() const { return libvirt_code_; }
  const std::optional<int>& libvirt_domain() const { return libvirt_domain_; }

 private:
  std::string code_;
  std::optional<uint32_t> tpm_code_;
  std::optional<int> libvirt_code_;
  std::optional<int> libvirt_domain_;
};

}  // namespace tvmmp
