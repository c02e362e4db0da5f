#include "vtpm-manufacture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "child-process.h"
#include "file-descriptor.h"
#include "operation-error.h"
#include "swtpm-process.h"
#include "vtpm-command.h"
#include "vtpm-directory.h"
#include "vtpm-endorsement.h"
#include "vtpm-owner.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;
constexpr char kWorkDir[] = ".tvmmp-manufacture";
constexpr mode_t kParentMode = 0711;  // others may pass (qemuTPMEmulatorCreateStorage)
constexpr mode_t kStateMode = 0700;
constexpr int kPassphraseFd = 3;
constexpr int kSetupMs = 120000;
constexpr size_t kSaidBytesMax = 400;

[[noreturn]] void Fail(const std::string& what) { throw OperationError("vtpm-manufacture-failed", what); }

// The directories above the state directory. Those that were missing are removed again, unless they are kept or something is in them.
class Parents {
 public:
  explicit Parents(const fs::path& dir) { Make(dir); }
  ~Parents() {
    while (!made_.empty()) {
      rmdir(made_.back().c_str());
      made_.pop_back();
    }
  }
  Parents(const Parents&) = delete;
  Parents& operator=(const Parents&) = delete;
  void Keep() { made_.clear(); }

 private:
  void Make(const fs::path& dir) {
    if (fs::is_directory(dir)) return;
    if (dir.has_relative_path()) Make(dir.parent_path());
    if (mkdir(dir.c_str(), kParentMode) != 0) {
      if (errno == EEXIST) return;
      FailWithErrno(dir, errno);
    }
    made_.push_back(dir);
    Must(chmod(dir.c_str(), kParentMode), dir);  // whatever our umask is
  }

  std::vector<fs::path> made_;
};

// Beside the place where the state will be: the last step is a rename.
class WorkPlace {
 public:
  WorkPlace(const fs::path& above, const VtpmOwner& owner) : path_(above / kWorkDir) {
    std::error_code error;
    fs::remove_all(path_, error);  // of a crash
    Must(mkdir(path_.c_str(), kStateMode), path_);
    if (geteuid() == 0) Must(chown(path_.c_str(), owner.uid, owner.gid), path_);
  }
  ~WorkPlace() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  WorkPlace(const WorkPlace&) = delete;
  WorkPlace& operator=(const WorkPlace&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// The end of what a program printed, on one line.
std::string EndOf(const FileDescriptor& output) {
  struct stat status {};
  if (fstat(output.get(), &status) != 0) return "";
  const off_t from = status.st_size > static_cast<off_t>(kSaidBytesMax) ? status.st_size - static_cast<off_t>(kSaidBytesMax) : 0;
  std::string said(kSaidBytesMax, '\0');
  const ssize_t got = pread(output.get(), said.data(), said.size(), from);
  said.resize(got > 0 ? static_cast<size_t>(got) : 0);
  while (!said.empty() && said.back() == '\n') said.pop_back();
  for (char& c : said) {
    if (c == '\n') c = ';';
    else if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return said;
}

void RunSetup(const VtpmManufacture& wanted, const fs::path& dir, const VtpmOwner& owner, const SecretBuffer& passphrase) {
  FileDescriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  FileDescriptor errors(memfd_create("swtpm-setup-errors", MFD_CLOEXEC));
  FileDescriptor key = PassphrasePipe(passphrase);
  if (!null.valid() || !errors.valid()) FailWithErrno("swtpm_setup", errno);
  std::vector<std::string> words = {wanted.swtpm_setup, "--tpm2", "--pwdfile-fd", std::to_string(kPassphraseFd), "--cipher", "aes-256-cbc",
                                    "--tpm-state", dir.string(), "--vmid", wanted.vm_id, "--createek", "--create-ek-cert"};
  if (wanted.setup_config.empty()) words.push_back("--create-platform-cert");
  else words.insert(words.end(), {"--config", wanted.setup_config});
  words.insert(words.end(), {"--lock-nvram", "--not-overwrite"});
  ChildProcess setup({.words = std::move(words),
                      .environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                      .fds = {null.get(), null.get(), errors.get(), key.get()},
                      .uid = owner.uid,
                      .gid = owner.gid,
                      .umask = 022});  // the local CA's certificates are for all to read, as when libvirt runs it
  key.Close();
  const std::optional<int> status = setup.WaitForEnd(kSetupMs);
  if (status == 0) return;
  const std::string said = EndOf(errors);
  Fail((status ? "swtpm_setup failed" : "swtpm_setup does not end") + (said.empty() ? "" : ": " + said));
}

// Switches it on and off once. That shows that the key opens it; and libtpms puts the PCR banks that swtpm_setup has chosen into force
// then, so that the state is from now on what a conversion gives back.
void PowerOnce(const VtpmManufacture& wanted, const fs::path& dir, const VtpmOwner& owner, const SecretBuffer& passphrase) {
  SwtpmProcess vtpm(wanted.swtpm, dir, owner.uid, owner.gid, {.at_rest = &passphrase, .migration = nullptr});
  vtpm.OpenDataChannel();
  vtpm.Init();
  StartupClear(vtpm);
  if (!wanted.issuer.empty()) KeepIssuer(vtpm, wanted.issuer);
  ShutdownClear(vtpm);
  vtpm.Shutdown();
}

void Manufacture(const VtpmManufacture& wanted, const SecretBuffer& passphrase) {
  const fs::path dir = (fs::path(wanted.state_dir) / "").parent_path();  // without a slash at its end
  if (!dir.is_absolute() || !dir.has_relative_path()) Fail("an absolute path is needed");
  const VtpmOwner owner = OwnerOfVtpms(wanted.qemu_conf);
  Parents parents(dir.parent_path());

  FileDescriptor turn(open(dir.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!turn.valid()) FailWithErrno(dir.parent_path(), errno);
  if (flock(turn.get(), LOCK_EX | LOCK_NB) != 0) throw OperationError("vtpm-busy", "the vTPM in " + dir.string() + " is being made");
  struct stat status {};
  const bool exists = lstat(dir.c_str(), &status) == 0;
  if (exists && (!S_ISDIR(status.st_mode) || !fs::is_empty(dir))) Fail(dir.string() + " holds something: it is not overwritten");

  WorkPlace work(dir.parent_path(), owner);
  RunSetup(wanted, work.path(), owner, passphrase);
  const fs::path state = work.path() / kStateFile;
  if (!S_ISREG(StatOf(state, "vTPM state").st_mode) || !IsEncrypted(state)) Fail("swtpm_setup made a state that is not encrypted");
  PowerOnce(wanted, work.path(), owner, passphrase);
  Sync(state, 0);
  Sync(work.path(), O_DIRECTORY);
  Must(rename(work.path().c_str(), dir.c_str()), dir);  // over an empty directory at most
  parents.Keep();
  Sync(dir.parent_path(), O_DIRECTORY);
}

}  // namespace

void ManufactureVtpm(const VtpmManufacture& wanted, const SecretBuffer& passphrase) {
  try {
    Manufacture(wanted, passphrase);
  } catch (const OperationError& error) {
    // Of the parts that the other operations use too.
    if (error.code() == "vtpm-convert-failed" || error.code() == "vtpm-read-failed") Fail(error.what());
    throw;
  } catch (const fs::filesystem_error& error) {
    Fail(error.what());
  }
}

}  // namespace tvmmp
