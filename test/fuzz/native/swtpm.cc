// libFuzzer target: what reads a vTPM through swtpm, with a swtpm that answers anything (scripted-child.h). Nothing but OperationErrors is
// thrown, and a vTPM whose conversion fails is left as it was. Input: operation (1), flags of the state file (1), the script.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "../../../native/operation-error.h"
#include "../../../native/vtpm-directory.h"
#include "../../../native/vtpm-endorsement.h"
#include "../../../native/vtpm-state.h"
#include "scripted-child.h"

namespace {

namespace fs = std::filesystem;
using tvmmp::Conversion;

char directory[64];

std::string StateIn(const fs::path& dir) {
  std::ifstream file(dir / tvmmp::kStateFile, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "property: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::snprintf(directory, sizeof(directory), "/dev/shm/tvmmp-fuzz-%d", getpid());
  Check(mkdir(directory, 0700) == 0, "a temporary directory");
  std::atexit([] { fs::remove_all(directory); });
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string before = std::string("\2\2\0\12\0", 5) + static_cast<char>(data[1]) + "abcdefgh";
  const fs::path dir(directory);
  std::ofstream(dir / tvmmp::kStateFile, std::ios::binary | std::ios::trunc) << before;
  tvmmp::fuzz::SetScript(data + 2, size - 2);
  static const tvmmp::SecretBuffer passphrase(64);
  try {
    if (data[0] % 3 == 0) {
      const auto source = data[0] / 3 % 2 == 0 ? tvmmp::EndorsementSource::kPlace : tvmmp::EndorsementSource::kSeed;
      const bool running = data[0] / 6 % 2 == 1;
      const auto key = tvmmp::VtpmEndorsementKey(directory, "/swtpm", source, running, passphrase);
      Check(key.public_area.size() > 8, "a public area holds attributes");
      Check(StateIn(dir) == before, "reading leaves the state as it was");
    } else {
      tvmmp::ConvertVtpmState(data[0] % 3 == 1 ? Conversion::kEncrypt : Conversion::kDecrypt, directory, "/swtpm", passphrase);
    }
  } catch (const tvmmp::OperationError& error) {
    Check(error.code() == "vtpm-convert-failed" || error.code() == "vtpm-read-failed", "the codes of the operation");
    Check(StateIn(dir) == before, "what fails leaves the state as it was");
  }
  Check(std::distance(fs::directory_iterator(dir), {}) == 2, "state and lock alone are left");
  return 0;
}
