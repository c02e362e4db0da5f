#include "vtpm-manufacture.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "file-descriptor.h"
#include "operation-error.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;
constexpr int kPassphraseFd = 3;

[[noreturn]] void Fail(const std::string& what, int error) { throw OperationError::FromErrno("vtpm-convert-failed", what, error); }

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

Owner OwnerOf(const std::string& user, const std::string& group) {
  Owner owner;
  if (geteuid() != 0) return {.uid = geteuid(), .gid = getegid()};
  std::vector<char> buffer(16384);
  struct passwd pwd {}, *found_user = nullptr;
  if (getpwnam_r(user.c_str(), &pwd, buffer.data(), buffer.size(), &found_user) == 0 && found_user != nullptr) owner.uid = pwd.pw_uid;
  struct group grp {}, *found_group = nullptr;
  if (getgrnam_r(group.c_str(), &grp, buffer.data(), buffer.size(), &found_group) == 0 && found_group != nullptr) owner.gid = grp.gr_gid;
  return owner;
}

void MakeDirectory(const fs::path& path, mode_t mode, const Owner& owner) {
  if (mkdir(path.c_str(), mode) == 0) {
    if (chmod(path.c_str(), mode) != 0 || chown(path.c_str(), owner.uid, owner.gid) != 0) Fail(path, errno);
  } else if (errno != EEXIST) {
    Fail(path, errno);
  }
}

// Written at one go, and read once: by the swtpm that swtpm_setup starts.
FileDescriptor PassphrasePipe(const SecretBuffer& passphrase) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) Fail("pipe", errno);
  FileDescriptor reading(ends[0]), writing(ends[1]);
  if (write(writing.get(), passphrase.data(), passphrase.size()) != static_cast<ssize_t>(passphrase.size())) Fail("pipe", errno);
  return reading;
}

class SpawnActions {
 public:
  SpawnActions() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  void Give(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  void CloseFrom(int first) { posix_spawn_file_actions_addclosefrom_np(&actions_, first); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

class SpawnAttributes {
 public:
  SpawnAttributes() {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::string LastWords(const FileDescriptor& output) {
  std::string said(2048, '\0');
  off_t size = lseek(output.get(), 0, SEEK_END);
  ssize_t got = pread(output.get(), said.data(), said.size(), size > 2048 ? size - 2048 : 0);
  said.resize(got > 0 ? static_cast<size_t>(got) : 0);
  for (char& c : said) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return said;
}

void RunSetup(std::vector<std::string> words, const SecretBuffer& passphrase) {
  FileDescriptor passphrase_pipe = PassphrasePipe(passphrase);
  FileDescriptor output(memfd_create("swtpm-setup-output", MFD_CLOEXEC));
  FileDescriptor null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  // Moved above the numbers that the child gets, so that no dup2 overwrites a descriptor that is still to be given.
  FileDescriptor high_pipe(fcntl(passphrase_pipe.get(), F_DUPFD_CLOEXEC, 10)), high_output(fcntl(output.get(), F_DUPFD_CLOEXEC, 10));
  SpawnActions actions;
  actions.Give(null.get(), 0);
  actions.Give(high_output.get(), 1);
  actions.Give(high_output.get(), 2);
  actions.Give(high_pipe.get(), kPassphraseFd);
  actions.CloseFrom(kPassphraseFd + 1);
  SpawnAttributes attributes;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
  char* environment[] = {path, locale, nullptr};
  pid_t pid = -1;
  int error = posix_spawn(&pid, argv[0], actions.get(), attributes.get(), argv.data(), environment);
  if (error != 0) Fail(words[0], error);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) Fail("waitpid", errno);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw OperationError("vtpm-convert-failed", "swtpm_setup: " + LastWords(output));
}

}  // namespace

void ManufactureVtpm(const std::string& state_dir, const std::string& vm_id, const std::string& swtpm_setup, const std::string& user,
                     const std::string& group, const SecretBuffer& passphrase) {
  const fs::path dir(state_dir);
  const fs::path state = dir / "tpm2-00.permall";
  if (access(state.c_str(), F_OK) == 0) return;
  const Owner owner = OwnerOf(user, group);
  // Modes as libvirt has them: all may pass through the two upper ones, nobody else reads the last.
  MakeDirectory(dir.parent_path().parent_path(), 0711, {});
  MakeDirectory(dir.parent_path(), 0711, {});
  MakeDirectory(dir, 0700, owner);
  try {
    RunSetup({swtpm_setup, "--tpm2", "--tpmstate", state_dir, "--vmid", vm_id, "--createek", "--create-ek-cert", "--create-platform-cert",
              "--lock-nvram", "--not-overwrite", "--pwdfile-fd", std::to_string(kPassphraseFd), "--cipher", "aes-256-cbc"},
             passphrase);
    for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
      if (lchown(entry.path().c_str(), owner.uid, owner.gid) != 0) Fail(entry.path(), errno);
    }
    FileDescriptor written(open(state.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!written.valid() || fsync(written.get()) != 0) Fail(state, errno);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(dir, ignored);
    throw;
  }
}

}  // namespace tvmmp
