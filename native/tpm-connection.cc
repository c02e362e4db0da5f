#include "tpm-connection.h"

#include <string.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_sys.h>
#include <tss2/tss2_tctildr.h>

#include "operation-error.h"

namespace tvmmp {
namespace {

// Never destroyed: an operation's thread may outlive main.
std::mutex& TpmMutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

CountingTcti* Self(TSS2_TCTI_CONTEXT* context) { return reinterpret_cast<CountingTcti*>(context); }

TSS2_RC Transmit(TSS2_TCTI_CONTEXT* context, size_t size, const uint8_t* command) {
  Self(context)->commands++;
  return Tss2_Tcti_Transmit(Self(context)->inner, size, command);
}

TSS2_RC Receive(TSS2_TCTI_CONTEXT* context, size_t* size, uint8_t* response, int32_t timeout) {
  return Tss2_Tcti_Receive(Self(context)->inner, size, response, timeout);
}

TSS2_RC Cancel(TSS2_TCTI_CONTEXT* context) { return Tss2_Tcti_Cancel(Self(context)->inner); }

TSS2_RC GetPollHandles(TSS2_TCTI_CONTEXT* context, TSS2_TCTI_POLL_HANDLE* handles, size_t* count) {
  return Tss2_Tcti_GetPollHandles(Self(context)->inner, handles, count);
}

TSS2_RC SetLocality(TSS2_TCTI_CONTEXT* context, uint8_t locality) { return Tss2_Tcti_SetLocality(Self(context)->inner, locality); }

TSS2_RC MakeSticky(TSS2_TCTI_CONTEXT* context, TPM2_HANDLE* handle, uint8_t sticky) {
  return Tss2_Tcti_MakeSticky(Self(context)->inner, handle, sticky);
}

void Finalize(TSS2_TCTI_CONTEXT*) {}  // ~TpmConnection ends the inner one

}  // namespace

CountingTcti::CountingTcti(TSS2_TCTI_CONTEXT* real) : inner(real) {
  common.v1.magic = 0x74766d6d70544354ULL;
  common.v1.version = 2;
  common.v1.transmit = Transmit;
  common.v1.receive = Receive;
  common.v1.finalize = Finalize;
  common.v1.cancel = Cancel;
  common.v1.getPollHandles = GetPollHandles;
  common.v1.setLocality = SetLocality;
  common.makeSticky = MakeSticky;
}

TpmTurn::TpmTurn() : held_(TpmMutex()) {}

TpmConnection::TpmConnection(const std::string& tcti) {
  TSS2_RC rc = Tss2_TctiLdr_Initialize(tcti.c_str(), &tcti_);
  if (rc != TSS2_RC_SUCCESS) {
    throw OperationError::FromTpm("tpm-unreachable", "the TPM at " + tcti + " cannot be reached: " + Tss2_RC_Decode(rc), rc);
  }
  counting_ = std::make_unique<CountingTcti>(tcti_);
  rc = Esys_Initialize(&esys_, reinterpret_cast<TSS2_TCTI_CONTEXT*>(counting_.get()), nullptr);
  if (rc != TSS2_RC_SUCCESS) {
    Tss2_TctiLdr_Finalize(&tcti_);
    throw OperationError::FromTpm("tpm-call-failed", std::string("Esys_Initialize: ") + Tss2_RC_Decode(rc), rc);
  }
}

TpmConnection::~TpmConnection() {
  // SAPI's buffer still holds the last response, and that may be Z: the TSS frees it without zeroing. Its content is not
  // read again: Esys_Finalize only frees it, because the TCTI is ours (tpm2-tss esys_context.c).
  TSS2_SYS_CONTEXT* sys = nullptr;
  if (Esys_GetSysContext(esys_, &sys) == TSS2_RC_SUCCESS && sys != nullptr) {
    explicit_bzero(static_cast<void*>(sys), Tss2_Sys_GetContextSize(0));
  }
  Esys_Finalize(&esys_);
  Tss2_TctiLdr_Finalize(&tcti_);
}

}  // namespace tvmmp
