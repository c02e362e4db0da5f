// One conversation with the host's TPM: TCTI, ESAPI context, and a count of the commands that were really sent.
#pragma once

#include <tss2/tss2_esys.h>
#include <tss2/tss2_tcti.h>

#include <memory>
#include <mutex>
#include <string>

namespace tvmmp {

// Sits between ESAPI and the real TCTI and counts. Hardware TPMs take 200 ms a command, so SPEC bounds their number, and
// what it bounds is measured here rather than believed.
struct CountingTcti {
  TSS2_TCTI_CONTEXT_COMMON_V2 common{};  // must be first: the TSS sees a pointer to this struct
  TSS2_TCTI_CONTEXT* inner = nullptr;
  uint32_t commands = 0;

  explicit CountingTcti(TSS2_TCTI_CONTEXT* real);
};

// The process's turn at the TPM, for as long as it lives: two policy sessions at once would only wait for each other.
class TpmTurn {
 public:
  TpmTurn();

 private:
  std::unique_lock<std::mutex> held_;
};

// Whoever makes, uses or ends one has a TpmTurn.
class TpmConnection {
 public:
  // `tcti` as for Tss2_TctiLdr_Initialize ("device:/dev/tpmrm0", "swtpm:path=..."). Throws "tpm-unreachable".
  explicit TpmConnection(const std::string& tcti);
  ~TpmConnection();
  TpmConnection(const TpmConnection&) = delete;
  TpmConnection& operator=(const TpmConnection&) = delete;

  ESYS_CONTEXT* esys() { return esys_; }
  uint32_t commands() const { return counting_->commands; }

 private:
  TSS2_TCTI_CONTEXT* tcti_ = nullptr;
  std::unique_ptr<CountingTcti> counting_;
  ESYS_CONTEXT* esys_ = nullptr;
};

}  // namespace tvmmp
