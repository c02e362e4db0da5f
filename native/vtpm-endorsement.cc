#include "vtpm-endorsement.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "operation-error.h"
#include "swtpm-process.h"

namespace tvmmp {
namespace {

// Handles of swtpm_setup (swtpm src/swtpm_setup/swtpm.c: TPM2_EK_RSA_HANDLE, TPM2_EK_RSA3072_HANDLE and _SECP384R1_).
constexpr std::array<uint32_t, 2> kEkHandles = {0x81010001, 0x81010016};
constexpr uint32_t kStartup = 0x00000144, kShutdown = 0x00000145, kReadPublic = 0x00000173;
constexpr uint16_t kNoSessions = 0x8001;
constexpr size_t kHeaderBytes = 10;
constexpr uint32_t kAnswerBytesMax = 4096;

[[noreturn]] void Fail(const std::string& what) { throw OperationError("vtpm-convert-failed", "vTPM: " + what); }

void Put(std::vector<uint8_t>& out, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t Get(const uint8_t* from, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | from[i];
  return value;
}

void ReceiveAll(int fd, uint8_t* into, size_t length) {
  while (length > 0) {
    ssize_t got = recv(fd, into, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) Fail("no answer");
    into += got;
    length -= static_cast<size_t>(got);
  }
}

struct Answer {
  uint32_t code;
  std::vector<uint8_t> body;
};

// One command without sessions (TPM 2.0 Part 1, 18): header, then parameters of `bytes` octets.
Answer Ask(int fd, uint32_t command, uint32_t parameter, int bytes) {
  std::vector<uint8_t> request;
  Put(request, kNoSessions, 2);
  Put(request, static_cast<uint32_t>(kHeaderBytes) + static_cast<uint32_t>(bytes), 4);
  Put(request, command, 4);
  Put(request, parameter, bytes);
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) Fail("it takes no command");
  uint8_t head[kHeaderBytes];
  ReceiveAll(fd, head, sizeof(head));
  uint32_t size = Get(head + 2, 4);
  if (size < kHeaderBytes || size > kAnswerBytesMax) Fail("an answer of unfit size");
  Answer answer = {.code = Get(head + 6, 4), .body = std::vector<uint8_t>(size - kHeaderBytes)};
  ReceiveAll(fd, answer.body.data(), answer.body.size());
  return answer;
}

void Must(int fd, uint32_t command, const char* what) {
  if (Ask(fd, command, 0 /* TPM_SU_CLEAR */, 2).code != 0) Fail(std::string(what) + " failed");
}

std::vector<uint8_t> ReadEk(int fd) {
  for (uint32_t handle : kEkHandles) {
    Answer answer = Ask(fd, kReadPublic, handle, 4);
    if (answer.code != 0) continue;
    if (answer.body.size() < 2) Fail("an EK without public area");
    size_t size = Get(answer.body.data(), 2);
    if (size == 0 || size > answer.body.size() - 2) Fail("an EK of unfit size");
    return {answer.body.begin() + 2, answer.body.begin() + 2 + static_cast<ptrdiff_t>(size)};
  }
  Fail("it has no persistent endorsement key; swtpm_setup makes one");
}

}  // namespace

std::vector<uint8_t> VtpmEndorsementKey(const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase) {
  struct stat status {};
  if (lstat((state_dir + "/tpm2-00.permall").c_str(), &status) != 0) {
    throw OperationError::FromErrno("vtpm-convert-failed", "vTPM state in " + state_dir, errno);
  }
  SwtpmProcess vtpm(swtpm, state_dir, status.st_uid, status.st_gid, {.at_rest = &passphrase, .migration = nullptr});
  FileDescriptor data = vtpm.OpenDataChannel();
  vtpm.Init();
  Must(data.get(), kStartup, "TPM2_Startup");
  std::vector<uint8_t> ek = ReadEk(data.get());
  Must(data.get(), kShutdown, "TPM2_Shutdown");
  vtpm.Shutdown();
  return ek;
}

}  // namespace tvmmp
