#include "scripted-child.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "../../../native/child-process.h"
#include "../../../native/vtpm-directory.h"

namespace tvmmp {
namespace {

using Bytes = std::vector<uint8_t>;
Bytes script;
size_t at = 0;

uint8_t Byte() { return at < script.size() ? script[at++] : 0; }

Bytes Part() {
  const size_t high = Byte();
  const size_t length = std::min(high << 8 | Byte(), script.size() - at);
  Bytes part(script.begin() + static_cast<std::ptrdiff_t>(at), script.begin() + static_cast<std::ptrdiff_t>(at + length));
  at += length;
  return part;
}

void Say(int fd, const Bytes& bytes) {
  if (!bytes.empty()) (void)send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  shutdown(fd, SHUT_WR);
}

// Reads the control channel to its end; the data channel comes along with a command.
void Listen(FileDescriptor control, Bytes data) {
  std::vector<FileDescriptor> channels;
  for (;;) {
    uint8_t bytes[4096];
    alignas(struct cmsghdr) uint8_t rights[CMSG_SPACE(sizeof(int))] = {};
    struct iovec into = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr head {};
    head.msg_iov = &into;
    head.msg_iovlen = 1;
    head.msg_control = rights;
    head.msg_controllen = sizeof(rights);
    if (recvmsg(control.get(), &head, MSG_CMSG_CLOEXEC) <= 0) return;
    struct cmsghdr* passed = CMSG_FIRSTHDR(&head);
    if (passed == nullptr || passed->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(passed), sizeof(fd));
    channels.emplace_back(fd);
    Say(fd, data);
  }
}

struct Playing {
  std::thread thread;
  int exit_code;
};
std::map<const ChildProcess*, Playing> playing;

// What a swtpm leaves in a directory without state.
void MakeState(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (!word.starts_with("dir=")) continue;
    const std::filesystem::path file = std::filesystem::path(word.substr(4, word.find(',') - 4)) / kStateFile;
    FileDescriptor made(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (made.valid()) (void)!write(made.get(), "0123456789abcdef", 16);
  }
}

}  // namespace

ChildProcess::ChildProcess(const ChildPlan& plan) {
  const int exit_code = Byte();
  const Bytes control = Part();
  Bytes data = Part();
  FileDescriptor end(fcntl(plan.fds.at(3), F_DUPFD_CLOEXEC, 3));
  MakeState(plan.words);
  Say(end.get(), control);
  playing[this] = {std::thread(Listen, std::move(end), std::move(data)), exit_code};
}

ChildProcess::~ChildProcess() {
  playing.at(this).thread.join();
  playing.erase(this);
}

std::optional<int> ChildProcess::WaitForEnd(int) { return playing.at(this).exit_code; }

FileDescriptor PassphrasePipe(const SecretBuffer&) { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

namespace fuzz {

void SetScript(const uint8_t* data, size_t size) {
  script.assign(data, data + size);
  at = 0;
}

}  // namespace fuzz
}  // namespace tvmmp
