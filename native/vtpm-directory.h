// swtpm's state directory of one vTPM (libvirt: /var/lib/libvirt/swtpm/<uuid>/tpm2): its names, its lock, and a place to work in.
// All fail with "vtpm-convert-failed".
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <string>

#include "file-descriptor.h"

namespace tvmmp {

inline constexpr char kStateFile[] = "tpm2-00.permall";
inline constexpr char kVolatileFile[] = "tpm2-00.volatilestate";

[[noreturn]] void FailWithErrno(const std::string& what, int error);
void Must(int result, const std::string& what);  // 0, or errno says why not
void Sync(const std::filesystem::path& path, int flags);
struct stat StatOf(const std::filesystem::path& path, const char* what);  // does not follow a link
bool IsEncrypted(const std::filesystem::path& state);

// The lock that every swtpm takes on its directory (swtpm_nvstore_dir.c): while we hold it none can start, and while one runs we
// do not get it ("vtpm-busy"). fcntl locks belong to the process, so operations in one process take turns besides.
class StateLock {
 public:
  StateLock(const std::filesystem::path& dir, const struct stat& owner);

 private:
  std::unique_lock<std::mutex> turn_;
  FileDescriptor fd_;
};

// A directory inside the state directory (same file system, same access rules), removed with all that is in it. One left behind by
// a crash holds nothing that the state file does not: that one is replaced in a single rename.
class WorkDir {
 public:
  WorkDir(const std::filesystem::path& dir, const struct stat& owner);
  ~WorkDir();
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;
  std::filesystem::path Old() const { return path_ / "old"; }
  std::filesystem::path New() const { return path_ / "new"; }

 private:
  std::filesystem::path path_;
};

}  // namespace tvmmp
