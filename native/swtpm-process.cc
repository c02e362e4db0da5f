#include "swtpm-process.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "operation-error.h"

namespace tvmmp {
namespace {

// Control commands, big-endian (swtpm include/swtpm/tpm_ioctl.h).
constexpr uint32_t kInit = 2;
constexpr uint32_t kShutdown = 3;
constexpr uint32_t kGetStateBlob = 12;
constexpr uint32_t kSetStateBlob = 13;
constexpr uint32_t kGetConfig = 15;
constexpr uint32_t kSetDataFd = 16;
constexpr uint32_t kPermanent = 1;
constexpr uint32_t kFlagDecrypted = 1;
constexpr size_t kBlobFlagsAt = 4;  // u8 version, u8 min_version, u16 hdrsize, u16 flags (swtpm_nvstore.c blobheader)
constexpr size_t kBlobHeaderBytes = 10;
constexpr uint8_t kBlobMigrationEncrypted = 0x02;
constexpr uint32_t kConfigFileKey = 1;

constexpr size_t kResponseHeadBytes = 10;  // tag, size, response code (TPM 2.0 Part 1, 18.4)
constexpr size_t kResponseSizeAt = 2;
constexpr uint32_t kResponseBytesMax = 4096;
constexpr uint32_t kStateBytesMax = 4 * 1024 * 1024;
constexpr int kAnswerSeconds = 30;
constexpr int kTpmSeconds = 120;  // a TPM command: making an RSA key takes long on an emulated machine
constexpr int kEndMs = 10000;
enum ChildFd { kControlFd = 3, kKeyFd = 4, kMigrationKeyFd = 5 };

void PutU32(std::vector<uint8_t>& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t ToU32(const uint8_t* b) {
  return static_cast<uint32_t>(b[0]) << 24 | static_cast<uint32_t>(b[1]) << 16 | static_cast<uint32_t>(b[2]) << 8 | b[3];
}

void Limit(const FileDescriptor& socket, int seconds) {
  struct timeval limit = {.tv_sec = seconds, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

}  // namespace

SwtpmProcess::SwtpmProcess(const std::string& program, const std::string& state_dir, uid_t uid, gid_t gid, const SwtpmKeys& keys) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw OperationError::FromErrno("vtpm-convert-failed", "socketpair", errno);
  control_ = FileDescriptor(ends[0]);
  FileDescriptor theirs(ends[1]);
  Limit(control_, kAnswerSeconds);
  output_ = FileDescriptor(memfd_create("swtpm-output", MFD_CLOEXEC));
  FileDescriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  FileDescriptor key, migration_key;
  if (keys.at_rest != nullptr) key = PassphrasePipe(*keys.at_rest);
  if (keys.migration != nullptr) migration_key = PassphrasePipe(*keys.migration);

  std::vector<std::string> words = {program,      "socket", "--tpm2", "--ctrl", "type=unixio,clientfd=" + std::to_string(kControlFd),
                                    "--tpmstate", "dir=" + state_dir + ",mode=0600"};
  auto option = [&words](const char* name, int fd) {
    words.push_back(name);
    words.push_back("pwdfd=" + std::to_string(fd) + ",mode=aes-256-cbc");
  };
  if (key.valid()) option("--key", kKeyFd);
  if (migration_key.valid()) option("--migration-key", kMigrationKeyFd);
  child_.emplace(ChildPlan{.words = words,
                           .environment = {},
                           .fds = {null.get(), output_.get(), output_.get(), theirs.get(), key.get(), migration_key.get()},
                           .uid = uid,
                           .gid = gid,
                           .umask = 077});
}

void SwtpmProcess::Fail(const std::string& what) {
  std::string said(512, '\0');
  ssize_t got = output_.valid() ? pread(output_.get(), said.data(), said.size(), 0) : 0;
  said.resize(got > 0 ? static_cast<size_t>(got) : 0);
  for (char& c : said) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  throw OperationError("vtpm-convert-failed", "swtpm: " + what + (said.empty() ? "" : " (" + said + ")"));
}

void SwtpmProcess::Send(const FileDescriptor& to, const std::vector<uint8_t>& message) {
  for (size_t at = 0; at < message.size();) {
    ssize_t sent = send(to.get(), message.data() + at, message.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) Fail("it does not listen any more");
    at += static_cast<size_t>(sent);
  }
}

void SwtpmProcess::Receive(const FileDescriptor& from, uint8_t* into, size_t length) {
  while (length > 0) {
    ssize_t got = recv(from.get(), into, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) Fail("no answer");
    into += got;
    length -= static_cast<size_t>(got);
  }
}

uint32_t SwtpmProcess::ReceiveU32() {
  uint8_t b[4];
  Receive(control_, b, sizeof(b));
  return ToU32(b);
}

void SwtpmProcess::Expect(const char* what) {
  uint32_t result = ReceiveU32();
  if (result != 0) Fail(std::string(what) + " failed with TPM result " + std::to_string(result));
}

// As QEMU does it: one end of a socket pair goes along with the command.
void SwtpmProcess::OpenDataChannel() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw OperationError::FromErrno("vtpm-convert-failed", "socketpair", errno);
  data_ = FileDescriptor(ends[0]);
  FileDescriptor theirs(ends[1]);
  Limit(data_, kTpmSeconds);
  std::vector<uint8_t> message;
  PutU32(message, kSetDataFd);
  struct iovec bytes = {.iov_base = message.data(), .iov_len = message.size()};
  alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr head {};
  head.msg_iov = &bytes;
  head.msg_iovlen = 1;
  head.msg_control = control;
  head.msg_controllen = sizeof(control);
  struct cmsghdr* rights = CMSG_FIRSTHDR(&head);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  const int passed = theirs.get();
  std::memcpy(CMSG_DATA(rights), &passed, sizeof(passed));
  ssize_t sent;
  do sent = sendmsg(control_.get(), &head, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent != static_cast<ssize_t>(message.size())) Fail("it does not listen any more");
  Expect("taking a data channel");
}

std::vector<uint8_t> SwtpmProcess::Transmit(const std::vector<uint8_t>& command) {
  Send(data_, command);
  std::vector<uint8_t> response(kResponseHeadBytes);
  Receive(data_, response.data(), response.size());
  const uint32_t size = ToU32(&response[kResponseSizeAt]);
  if (size < kResponseHeadBytes || size > kResponseBytesMax) Fail("a TPM response of unfit size");
  response.resize(size);
  Receive(data_, response.data() + kResponseHeadBytes, size - kResponseHeadBytes);
  return response;
}

void SwtpmProcess::Init() {
  std::vector<uint8_t> message;
  PutU32(message, kInit);
  PutU32(message, 0);
  Send(control_, message);
  Expect("reading the vTPM state");
}

// Sends CMD_GET_STATEBLOB and reads the answer's head; returns the number of bytes that follow. A state blob has two layers: inside,
// the key at rest, which we ask to leave out because the other swtpm has another; around it, the migration key where there is one.
uint32_t SwtpmProcess::AskState() {
  std::vector<uint8_t> message;
  PutU32(message, kGetStateBlob);
  PutU32(message, kFlagDecrypted);
  PutU32(message, kPermanent);
  PutU32(message, 0);
  Send(control_, message);
  Expect("handing out the vTPM state");
  ReceiveU32();  // state_flags speak of the inner layer only
  uint32_t total = ReceiveU32();
  uint32_t length = ReceiveU32();
  if (total != length || length < kBlobHeaderBytes || length > kStateBytesMax) Fail("a state blob of unfit size");
  return length;
}

std::vector<uint8_t> SwtpmProcess::GetPermanentState() {
  uint8_t head[kBlobHeaderBytes];
  size_t length = AskState();
  Receive(control_, head, sizeof(head));
  if ((head[kBlobFlagsAt + 1] & kBlobMigrationEncrypted) == 0) Fail("its state blob is not encrypted");  // before the rest is taken in
  std::vector<uint8_t> blob(head, head + sizeof(head));
  blob.resize(length);
  Receive(control_, blob.data() + sizeof(head), length - sizeof(head));
  return blob;
}

void SwtpmProcess::GetClearState(SecretBuffer& digest) {
  SecretBuffer clear(AskState());
  Receive(control_, clear.data(), clear.size());
  if (digest.size() != 32 || EVP_Digest(clear.data(), clear.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    Fail("no SHA-256");
  }
}

void SwtpmProcess::SetPermanentState(const std::vector<uint8_t>& encrypted) {
  std::vector<uint8_t> message;
  PutU32(message, kSetStateBlob);
  PutU32(message, 0);  // the inner layer is plain
  PutU32(message, kPermanent);
  PutU32(message, static_cast<uint32_t>(encrypted.size()));
  message.insert(message.end(), encrypted.begin(), encrypted.end());
  Send(control_, message);
  Expect("taking the vTPM state");
}

bool SwtpmProcess::EncryptsAtRest() {
  std::vector<uint8_t> message;
  PutU32(message, kGetConfig);
  Send(control_, message);
  Expect("telling its configuration");
  return (ReceiveU32() & kConfigFileKey) != 0;
}

void SwtpmProcess::Shutdown() {
  std::vector<uint8_t> message;
  PutU32(message, kShutdown);
  Send(control_, message);
  Expect("shutting down");
  std::optional<int> status = child_->WaitForEnd(kEndMs);
  if (!status) Fail("it does not end");
  if (*status != 0) Fail("it did not end well");
}

}  // namespace tvmmp
