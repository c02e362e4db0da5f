#include "child-process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>

#include "operation-error.h"

namespace tvmmp {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& each : strings) pointers.push_back(each.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec of a process with threads: system calls only. `moved` is room for as many numbers as `plan.fds` has.
[[noreturn]] void Become(const ChildPlan& plan, char* const* argv, char* const* environment, int* moved, pid_t parent) {
  // First out of the way of the numbers that the child will use, then onto them.
  const int count = static_cast<int>(plan.fds.size());
  for (int to = 0; to < count; to++) moved[to] = plan.fds[to] < 0 ? -1 : fcntl(plan.fds[to], F_DUPFD_CLOEXEC, count);
  for (int to = 0; to < count; to++) {
    if (moved[to] >= 0) dup2(moved[to], to);
    else close(to);
  }
  syscall(SYS_close_range, static_cast<unsigned>(count), ~0U, 0);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; number++) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setpgid(0, 0);
  if (geteuid() == 0 && plan.uid != 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(plan.gid, plan.gid, plan.gid) != 0 || setresuid(plan.uid, plan.uid, plan.uid) != 0) _exit(126);
  }
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the change of user, which clears it
  if (getppid() != parent) _exit(126);
  umask(plan.umask);
  execve(argv[0], argv, environment);
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const ChildPlan& plan) {
  std::vector<std::string> words = plan.words, environment = plan.environment;
  const std::vector<char*> argv = Pointers(words), envp = Pointers(environment);
  std::vector<int> moved(plan.fds.size());
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) Become(plan, argv.data(), envp.data(), moved.data(), parent);
  if (pid_ < 0) throw OperationError::FromErrno("vtpm-convert-failed", "fork", errno);
  setpgid(pid_, pid_);  // here too: the group exists before anybody needs it
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) Reap();
}

// What belongs to the group is killed before its leader is reaped: until then nobody else can get its number.
int ChildProcess::Reap() {
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::optional<int> ChildProcess::WaitForEnd(int timeout_ms) {
  FileDescriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!handle.valid()) throw OperationError::FromErrno("vtpm-convert-failed", "pidfd_open", errno);
  struct pollfd item = {.fd = handle.get(), .events = POLLIN, .revents = 0};
  int ready;
  do ready = poll(&item, 1, timeout_ms);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0) return std::nullopt;
  return Reap();
}

FileDescriptor PassphrasePipe(const SecretBuffer& passphrase) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw OperationError::FromErrno("vtpm-convert-failed", "pipe", errno);
  FileDescriptor reading(ends[0]), writing(ends[1]);
  if (write(writing.get(), passphrase.data(), passphrase.size()) != static_cast<ssize_t>(passphrase.size())) {
    throw OperationError::FromErrno("vtpm-convert-failed", "pipe", errno);
  }
  return reading;
}

}  // namespace tvmmp
