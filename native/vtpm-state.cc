#include "vtpm-state.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "operation-error.h"
#include "swtpm-process.h"
#include "vtpm-directory.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

void ConvertVtpmState(Conversion conversion, const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase) {
  const fs::path dir(state_dir);
  const fs::path state = dir / kStateFile;
  const struct stat dir_status = StatOf(dir, "vTPM state directory");
  if (!S_ISDIR(dir_status.st_mode)) FailWithErrno(dir, ENOTDIR);
  StateLock lock(dir, dir_status);
  const struct stat status = StatOf(state, "vTPM state");
  if (!S_ISREG(status.st_mode)) FailWithErrno(state, EINVAL);
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
