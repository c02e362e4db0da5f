#include "swtpm-process.h"

#include <fcntl.h>
#include <grp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
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
constexpr uint32_t kPermanent = 1;
constexpr uint32_t kFlagDecrypted = 1;
constexpr size_t kBlobFlagsAt = 4;  // u8 version, u8 min_version, u16 hdrsize, u16 flags (swtpm_nvstore.c blobheader)
constexpr size_t kBlobHeaderBytes = 10;
constexpr uint8_t kBlobMigrationEncrypted = 0x02;
constexpr uint32_t kConfigFileKey = 1;

constexpr uint32_t kStateBytesMax = 4 * 1024 * 1024;
constexpr int kAnswerSeconds = 30;
constexpr int kEndMs = 10000;
enum ChildFd { kControlFd = 3, kKeyFd = 4, kMigrationKeyFd = 5, kChildFds = 6 };

void PutU32(std::vector<uint8_t>& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

// A pipe that holds the passphrase and whose writing end is closed: written at one go, because swtpm reads once.
FileDescriptor PassphrasePipe(const SecretBuffer& passphrase) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw OperationError::FromErrno("vtpm-convert-failed", "pipe", errno);
  FileDescriptor reading(ends[0]), writing(ends[1]);
  if (write(writing.get(), passphrase.data(), passphrase.size()) != static_cast<ssize_t>(passphrase.size())) {
    throw OperationError::FromErrno("vtpm-convert-failed", "pipe", errno);
  }
  return reading;
}

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void BecomeSwtpm(char* const* argv, const std::array<int, kChildFds>& from, uid_t uid, gid_t gid, pid_t parent) {
  // First out of the way of the numbers that the child will use, then onto them.
  std::array<int, kChildFds> moved{};
  for (int to = 0; to < kChildFds; to++) moved[to] = from[to] < 0 ? -1 : fcntl(from[to], F_DUPFD_CLOEXEC, kChildFds);
  for (int to = 0; to < kChildFds; to++) {
    if (moved[to] >= 0) dup2(moved[to], to);
    else if (to >= kControlFd) close(to);
  }
  syscall(SYS_close_range, static_cast<unsigned>(kChildFds), ~0U, 0);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; number++) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (geteuid() == 0 && uid != 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) _exit(126);
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the change of user, which clears it
  if (getppid() != parent) _exit(126);
  umask(077);
  char* const environment[] = {nullptr};
  execve(argv[0], argv, environment);
  _exit(127);
}

}  // namespace

SwtpmProcess::SwtpmProcess(const std::string& program, const std::string& state_dir, uid_t uid, gid_t gid, const SwtpmKeys& keys) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw OperationError::FromErrno("vtpm-convert-failed", "socketpair", errno);
  control_ = FileDescriptor(ends[0]);
  FileDescriptor theirs(ends[1]);
  struct timeval limit = {.tv_sec = kAnswerSeconds, .tv_usec = 0};
  setsockopt(control_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(control_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
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
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const std::array<int, kChildFds> fds = {null.get(), output_.get(), output_.get(), theirs.get(), key.get(), migration_key.get()};
  pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) BecomeSwtpm(argv.data(), fds, uid, gid, parent);
  if (pid_ < 0) throw OperationError::FromErrno("vtpm-convert-failed", "fork", errno);
}

SwtpmProcess::~SwtpmProcess() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
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

void SwtpmProcess::Send(const std::vector<uint8_t>& message) {
  for (size_t at = 0; at < message.size();) {
    ssize_t sent = send(control_.get(), message.data() + at, message.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) Fail("its control channel broke");
    at += static_cast<size_t>(sent);
  }
}

void SwtpmProcess::Receive(uint8_t* into, size_t length) {
  while (length > 0) {
    ssize_t got = recv(control_.get(), into, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) Fail("no answer on its control channel");
    into += got;
    length -= static_cast<size_t>(got);
  }
}

uint32_t SwtpmProcess::ReceiveU32() {
  uint8_t b[4];
  Receive(b, sizeof(b));
  return static_cast<uint32_t>(b[0]) << 24 | static_cast<uint32_t>(b[1]) << 16 | static_cast<uint32_t>(b[2]) << 8 | b[3];
}

void SwtpmProcess::Expect(const char* what) {
  uint32_t result = ReceiveU32();
  if (result != 0) Fail(std::string(what) + " failed with TPM result " + std::to_string(result));
}

void SwtpmProcess::Init() {
  std::vector<uint8_t> message;
  PutU32(message, kInit);
  PutU32(message, 0);
  Send(message);
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
  Send(message);
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
  Receive(head, sizeof(head));
  if ((head[kBlobFlagsAt + 1] & kBlobMigrationEncrypted) == 0) Fail("its state blob is not encrypted");  // before the rest is taken in
  std::vector<uint8_t> blob(head, head + sizeof(head));
  blob.resize(length);
  Receive(blob.data() + sizeof(head), length - sizeof(head));
  return blob;
}

void SwtpmProcess::GetClearState(SecretBuffer& digest) {
  SecretBuffer clear(AskState());
  Receive(clear.data(), clear.size());
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
  Send(message);
  Expect("taking the vTPM state");
}

bool SwtpmProcess::EncryptsAtRest() {
  std::vector<uint8_t> message;
  PutU32(message, kGetConfig);
  Send(message);
  Expect("telling its configuration");
  return (ReceiveU32() & kConfigFileKey) != 0;
}

bool SwtpmProcess::WaitForEnd(int timeout_ms) {
  FileDescriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  struct pollfd item = {.fd = handle.get(), .events = POLLIN, .revents = 0};
  int ready;
  do ready = poll(&item, 1, timeout_ms);
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

void SwtpmProcess::Shutdown() {
  std::vector<uint8_t> message;
  PutU32(message, kShutdown);
  Send(message);
  Expect("shutting down");
  if (!WaitForEnd(kEndMs)) Fail("it does not end");
  int status = 0;
  pid_t pid = pid_;
  pid_ = -1;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) Fail("it did not end well");
}

}  // namespace tvmmp
