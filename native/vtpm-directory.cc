#include "vtpm-directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "operation-error.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;
constexpr char kLockFile[] = ".lock";
constexpr size_t kFlagsAt = 5;            // low byte of the flags in the state file's header (swtpm_nvstore.c, blobheader)
constexpr uint8_t kEncryptedFlag = 0x01;  // BLOB_FLAG_ENCRYPTED
constexpr char kWorkDir[] = ".tvmmp-convert";

std::mutex turn;

}  // namespace

void FailWithErrno(const std::string& what, int error) { throw OperationError::FromErrno("vtpm-convert-failed", what, error); }

void Must(int result, const std::string& what) {
  if (result != 0) FailWithErrno(what, errno);
}

void Sync(const fs::path& path, int flags) {
  FileDescriptor fd(open(path.c_str(), flags | O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() || fsync(fd.get()) != 0) FailWithErrno(path, errno);
}

struct stat StatOf(const fs::path& path, const char* what) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) FailWithErrno(std::string(what) + " " + path.string(), errno);
  return status;
}

bool IsEncrypted(const fs::path& state) {
  FileDescriptor fd(open(state.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  uint8_t head[10];
  if (!fd.valid() || read(fd.get(), head, sizeof(head)) != static_cast<ssize_t>(sizeof(head))) {
    FailWithErrno(state, fd.valid() ? EINVAL : errno);
  }
  return (head[kFlagsAt] & kEncryptedFlag) != 0;
}

StateLock::StateLock(const fs::path& dir, const struct stat& owner) : turn_(turn) {
  fs::path path = dir / kLockFile;
  fd_ = FileDescriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
  if (!fd_.valid()) FailWithErrno(path, errno);
  if (geteuid() == 0) Must(fchown(fd_.get(), owner.st_uid, owner.st_gid), path);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd_.get(), F_SETLK, &lock) != 0) throw OperationError("vtpm-busy", "a swtpm is running on " + dir.string());
}

WorkDir::WorkDir(const fs::path& dir, const struct stat& owner) : path_(dir / kWorkDir) {
  std::error_code error;
  fs::remove_all(path_, error);
  for (const fs::path& each : {path_, path_ / "old", path_ / "new"}) {
    Must(mkdir(each.c_str(), 0700), each);
    if (geteuid() == 0) Must(chown(each.c_str(), owner.st_uid, owner.st_gid), each);
  }
}

WorkDir::~WorkDir() {
  std::error_code error;
  fs::remove_all(path_, error);
}

}  // namespace tvmmp
