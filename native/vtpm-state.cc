#include "vtpm-state.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <vector>

#include "file-descriptor.h"
#include "operation-error.h"
#include "swtpm-process.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;
constexpr char kStateFile[] = "tpm2-00.permall";
constexpr char kVolatileFile[] = "tpm2-00.volatilestate";
constexpr char kLockFile[] = ".lock";
constexpr size_t kFlagsAt = 5;             // low byte of the flags in the state file's header (swtpm_nvstore.c, blobheader)
constexpr uint8_t kEncryptedFlag = 0x01;  // BLOB_FLAG_ENCRYPTED
constexpr char kWorkDir[] = ".tvmmp-convert";

[[noreturn]] void Fail(const std::string& what, int error) { throw OperationError::FromErrno("vtpm-convert-failed", what, error); }

void Must(int result, const std::string& what) {
  if (result != 0) Fail(what, errno);
}

void Sync(const fs::path& path, int flags) {
  FileDescriptor fd(open(path.c_str(), flags | O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() || fsync(fd.get()) != 0) Fail(path, errno);
}

// The lock that every swtpm takes on its directory (swtpm_nvstore_dir.c): while we hold it none can start, and while one runs we
// do not get it. fcntl locks belong to the process, so conversions in one process take turns besides.
std::mutex conversion_mutex;

class StateLock {
 public:
  StateLock(const fs::path& dir, const struct stat& owner) : turn_(conversion_mutex) {
    fs::path path = dir / kLockFile;
    fd_ = FileDescriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
    if (!fd_.valid()) Fail(path, errno);
    if (geteuid() == 0) Must(fchown(fd_.get(), owner.st_uid, owner.st_gid), path);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd_.get(), F_SETLK, &lock) != 0) throw OperationError("vtpm-busy", "a swtpm is running on " + dir.string());
  }

 private:
  std::unique_lock<std::mutex> turn_;
  FileDescriptor fd_;
};

// A directory inside the state directory (same file system, same access rules), removed with all that is in it. One left behind by
// a crash holds nothing that the state file does not: that one is replaced in a single rename.
class WorkDir {
 public:
  WorkDir(const fs::path& dir, const struct stat& owner) : path_(dir / kWorkDir) {
    std::error_code error;
    fs::remove_all(path_, error);
    for (const fs::path& each : {path_, path_ / "old", path_ / "new"}) {
      Must(mkdir(each.c_str(), 0700), each);
      if (geteuid() == 0) Must(chown(each.c_str(), owner.st_uid, owner.st_gid), each);
    }
  }
  ~WorkDir() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;
  fs::path Old() const { return path_ / "old"; }
  fs::path New() const { return path_ / "new"; }

 private:
  fs::path path_;
};

bool SameSecret(const SecretBuffer& a, const SecretBuffer& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// SHA-256 of the vTPM's state in clear. Without a migration key, because with one swtpm hands out nothing else than encrypted state.
SecretBuffer StateDigest(const std::string& swtpm, const fs::path& dir, uid_t uid, gid_t gid, const SecretBuffer* at_rest) {
  SwtpmProcess vtpm(swtpm, dir, uid, gid, {.at_rest = at_rest, .migration = nullptr});
  if (vtpm.EncryptsAtRest() != (at_rest != nullptr)) throw OperationError("vtpm-convert-failed", "swtpm ignores its key");
  vtpm.Init();
  SecretBuffer digest(32);
  vtpm.GetClearState(digest);
  vtpm.Shutdown();
  return digest;
}

bool IsEncrypted(const fs::path& state) {
  FileDescriptor fd(open(state.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  uint8_t head[10];
  if (!fd.valid() || read(fd.get(), head, sizeof(head)) != static_cast<ssize_t>(sizeof(head))) Fail(state, fd.valid() ? EINVAL : errno);
  return (head[kFlagsAt] & kEncryptedFlag) != 0;
}

struct stat StatOf(const fs::path& path, const char* what) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) Fail(std::string(what) + " " + path.string(), errno);
  return status;
}

}  // namespace

void ConvertVtpmState(Conversion conversion, const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase) {
  const fs::path dir(state_dir);
  const fs::path state = dir / kStateFile;
  const struct stat dir_status = StatOf(dir, "vTPM state directory");
  if (!S_ISDIR(dir_status.st_mode)) Fail(dir, ENOTDIR);
  StateLock lock(dir, dir_status);
  const struct stat status = StatOf(state, "vTPM state");
  if (!S_ISREG(status.st_mode)) Fail(state, EINVAL);
  if (access((dir / kVolatileFile).c_str(), F_OK) == 0) throw OperationError("vtpm-busy", "the vTPM in " + state_dir + " is suspended");

  const SwtpmKeys clear = {.at_rest = nullptr, .migration = &passphrase};
  const SwtpmKeys encrypted = {.at_rest = &passphrase, .migration = &passphrase};
  const SwtpmKeys& before = conversion == Conversion::kEncrypt ? clear : encrypted;
  const SwtpmKeys& after = conversion == Conversion::kEncrypt ? encrypted : clear;
  const uid_t uid = status.st_uid;
  const gid_t gid = status.st_gid;
  WorkDir work(dir, status);

  // The first swtpm works on a hard link: it never writes in place, so the original stays untouched, and nothing that is in clear is
  // copied on the disk.
  Must(link(state.c_str(), (work.Old() / kStateFile).c_str()), "hard link of the vTPM state");
  if (IsEncrypted(state) == (conversion == Conversion::kEncrypt)) {
    // Done before (a crash between the conversion and its journal entry): true only if it opens with this very key.
    StateDigest(swtpm, work.Old(), uid, gid, after.at_rest);
    return;
  }
  std::vector<uint8_t> blob;
  {
    SwtpmProcess old_vtpm(swtpm, work.Old(), uid, gid, before);
    old_vtpm.Init();
    blob = old_vtpm.GetPermanentState();  // encrypted with the migration key on the way
    old_vtpm.Shutdown();
  }
  {
    SwtpmProcess new_vtpm(swtpm, work.New(), uid, gid, after);
    new_vtpm.SetPermanentState(blob);
    new_vtpm.Init();
    new_vtpm.Shutdown();
  }
  // What was written is read again by a swtpm of its own, and it must be the same TPM.
  const SecretBuffer digest_before = StateDigest(swtpm, work.Old(), uid, gid, before.at_rest);
  const SecretBuffer digest_after = StateDigest(swtpm, work.New(), uid, gid, after.at_rest);
  if (!SameSecret(digest_before, digest_after)) throw OperationError("vtpm-convert-failed", "the converted vTPM is not the same");

  const fs::path made = work.New() / kStateFile;
  if (geteuid() == 0) Must(chown(made.c_str(), status.st_uid, status.st_gid), made);
  Must(chmod(made.c_str(), status.st_mode & 07777), made);
  Sync(made, 0);
  Must(rename(made.c_str(), state.c_str()), state);
  Sync(dir, O_DIRECTORY);
}

}  // namespace tvmmp
