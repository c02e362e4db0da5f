// TPM commands for a vTPM, in wire form (TPM 2.0 Part 3), without a TSS: few, without secrets, and over swtpm's own channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "swtpm-process.h"

namespace tvmmp {

using WireBytes = std::vector<uint8_t>;

inline constexpr uint16_t kNoSessions = 0x8001;  // TPM_ST_NO_SESSIONS
inline constexpr uint16_t kSessions = 0x8002;    // TPM_ST_SESSIONS
inline constexpr size_t kResponseHead = 10;      // where a response's handles or parameters start

void PutWire(WireBytes& out, uint32_t value, int bytes);                   // big-endian
uint32_t ReadWire(const WireBytes& from, size_t at, size_t bytes);         // throws "vtpm-read-failed" at the end
uint32_t ResponseCode(const WireBytes& response);
WireBytes WireCommand(uint16_t tag, uint32_t code, const WireBytes& rest);

// The response of a command that has to succeed; else "vtpm-read-failed" with the TPM's code.
WireBytes Answered(SwtpmProcess& vtpm, const char* name, const WireBytes& command);

void StartupClear(SwtpmProcess& vtpm);   // TPM2_Startup(TPM_SU_CLEAR): a power-on
void ShutdownClear(SwtpmProcess& vtpm);  // TPM2_Shutdown(TPM_SU_CLEAR): the orderly end of it

}  // namespace tvmmp
