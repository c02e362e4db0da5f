// A swtpm started by us on one state directory, talked to over its control channel (swtpm tpm_ioctl.h). Killed with
// the object if it still runs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "child-process.h"
#include "file-descriptor.h"
#include "secret-buffer.h"

namespace tvmmp {

// Which of swtpm's two keys are derived from the passphrase, in the form that libvirt gives them:
// `--key pwdfd=N,mode=aes-256-cbc` and `--migration-key pwdfd=N,mode=aes-256-cbc`.
struct SwtpmKeys {
  const SecretBuffer* at_rest = nullptr;
  const SecretBuffer* migration = nullptr;
};

class SwtpmProcess {
 public:
  // Runs as `uid`:`gid` where we may change to them. Throws "vtpm-convert-failed", with what swtpm said.
  SwtpmProcess(const std::string& program, const std::string& state_dir, uid_t uid, gid_t gid, const SwtpmKeys& keys);
  SwtpmProcess(const SwtpmProcess&) = delete;
  SwtpmProcess& operator=(const SwtpmProcess&) = delete;

  void OpenDataChannel();                                            // CMD_SET_DATAFD, before Init: for Transmit
  std::vector<uint8_t> Transmit(const std::vector<uint8_t>& command);  // one TPM command, wire form; its whole response
  void Init();                                                       // CMD_INIT: read the state and be a TPM
  std::vector<uint8_t> GetPermanentState();                          // CMD_GET_STATEBLOB, encrypted with the migration key
  void GetClearState(SecretBuffer& digest);                          // SHA-256 of the same in clear, which stays in locked memory
  void SetPermanentState(const std::vector<uint8_t>& encrypted);     // CMD_SET_STATEBLOB, before Init
  bool EncryptsAtRest();                                             // CMD_GET_CONFIG
  void Shutdown();                                                   // CMD_SHUTDOWN, and waits for its end

 private:
  [[noreturn]] void Fail(const std::string& what);
  void Send(const FileDescriptor& to, const std::vector<uint8_t>& message);
  void Receive(const FileDescriptor& from, uint8_t* into, size_t length);
  uint32_t ReceiveU32();
  void Expect(const char* what);
  uint32_t AskState();

  std::optional<ChildProcess> child_;
  FileDescriptor control_;
  FileDescriptor data_;
  FileDescriptor output_;  // what it prints: a memory file
};

}  // namespace tvmmp
