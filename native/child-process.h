// A program that we start on our own account: swtpm and swtpm_setup. It gets the descriptors it is given and no others, an
// environment of its own, and ends with us.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "file-descriptor.h"
#include "secret-buffer.h"

namespace tvmmp {

struct ChildPlan {
  std::vector<std::string> words;        // the program's path, then its arguments
  std::vector<std::string> environment;  // NAME=value
  std::vector<int> fds;                  // fds[n] is n in the child; -1: n is closed there. At least 0, 1 and 2
  uid_t uid;                             // whom it runs as, where we are root
  gid_t gid;
  mode_t umask;
};

// Leads a process group, so that what it starts itself ends with it.
class ChildProcess {
 public:
  // Throws "vtpm-convert-failed". A program that cannot be run ends with 127.
  explicit ChildProcess(const ChildPlan& plan);
  ~ChildProcess();  // kills the group if it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Its exit status (-1: ended by a signal), or nothing if it still runs after that time.
  std::optional<int> WaitForEnd(int timeout_ms);

 private:
  int Reap();

  pid_t pid_ = -1;
};

// A pipe that holds the passphrase and whose writing end is closed. Written at one go, because swtpm reads once.
FileDescriptor PassphrasePipe(const SecretBuffer& passphrase);

}  // namespace tvmmp
