#include "vtpm-command.h"

#include <string>

#include "operation-error.h"

namespace tvmmp {
namespace {

constexpr uint32_t kStartup = 0x144;
constexpr uint32_t kShutdown = 0x145;
constexpr uint16_t kClear = 0;  // TPM_SU_CLEAR
constexpr size_t kCodeAt = 6;

WireBytes Clear() {
  WireBytes type;
  PutWire(type, kClear, 2);
  return type;
}

}  // namespace

void PutWire(WireBytes& out, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t ReadWire(const WireBytes& from, size_t at, size_t bytes) {
  if (at + bytes > from.size()) throw OperationError("vtpm-read-failed", "the vTPM's answer is too short");
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; i++) value = value << 8 | from[at + i];
  return value;
}

uint32_t ResponseCode(const WireBytes& response) { return ReadWire(response, kCodeAt, 4); }

WireBytes WireCommand(uint16_t tag, uint32_t code, const WireBytes& rest) {
  WireBytes command;
  PutWire(command, tag, 2);
  PutWire(command, static_cast<uint32_t>(kResponseHead + rest.size()), 4);  // a command's head is as long as a response's
  PutWire(command, code, 4);
  command.insert(command.end(), rest.begin(), rest.end());
  return command;
}

WireBytes Answered(SwtpmProcess& vtpm, const char* name, const WireBytes& command) {
  WireBytes response = vtpm.Transmit(command);
  const uint32_t code = ResponseCode(response);
  if (code != 0) throw OperationError::FromTpm("vtpm-read-failed", std::string("the vTPM refuses ") + name, code);
  return response;
}

void StartupClear(SwtpmProcess& vtpm) { Answered(vtpm, "Startup", WireCommand(kNoSessions, kStartup, Clear())); }

void ShutdownClear(SwtpmProcess& vtpm) { Answered(vtpm, "Shutdown", WireCommand(kNoSessions, kShutdown, Clear())); }

}  // namespace tvmmp
