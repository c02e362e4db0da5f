#include "operation-error.h"

#include <system_error>

namespace tvmmp {

OperationError OperationError::FromErrno(std::string code, std::string_view what, int error) {
  return OperationError(std::move(code), std::string(what) + ": " + std::generic_category().message(error));
}

OperationError OperationError::FromTpm(std::string code, std::string_view what, uint32_t tpm_code) {
  OperationError error(std::move(code), std::string(what));
  error.tpm_code_ = tpm_code;
  return error;
}

OperationError OperationError::FromLibvirt(std::string_view what, int libvirt_code, int libvirt_domain, std::string_view text) {
  OperationError error("libvirt-call-failed", std::string(what) + ": " + std::string(text));
  error.libvirt_code_ = libvirt_code;
  error.libvirt_domain_ = libvirt_domain;
  return error;
}

}  // namespace tvmmp
