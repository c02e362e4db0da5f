#include "vtpm-owner.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "operation-error.h"

namespace tvmmp {
namespace {

constexpr char kDefaultName[] = "tss";
constexpr size_t kRecordBytesMax = 1 << 20;

[[noreturn]] void Fail(const std::string& what) { throw OperationError("vtpm-manufacture-failed", what); }

std::string_view Trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

// The value of `key = "value"`; the first one counts, as for libvirt (virconf.c).
std::optional<std::string> Setting(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  if (!file) {
    if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
    Fail(path + " cannot be read");
  }
  for (std::string line; std::getline(file, line);) {
    std::string_view rest = Trimmed(line);
    if (!rest.starts_with(key)) continue;
    rest = Trimmed(rest.substr(key.size()));
    if (!rest.starts_with('=')) continue;
    rest = Trimmed(rest.substr(1));
    const size_t end = rest.empty() || (rest[0] != '"' && rest[0] != '\'') ? std::string_view::npos : rest.find(rest[0], 1);
    if (end == std::string_view::npos) Fail(path + ": " + std::string(key) + " is not a string");
    return std::string(rest.substr(1, end - 1));
  }
  if (file.bad()) Fail(path + " cannot be read");
  return std::nullopt;
}

std::optional<unsigned> Number(std::string_view text) {
  unsigned number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// getpwnam_r or getgrnam_r; nothing where there is no such name.
template <typename Record>
std::optional<Record> Lookup(const std::string& name, int (*lookup)(const char*, Record*, char*, size_t, Record**)) {
  std::vector<char> room(4096);
  Record record{};
  Record* found = nullptr;
  int error;
  while ((error = lookup(name.c_str(), &record, room.data(), room.size(), &found)) == ERANGE && room.size() < kRecordBytesMax) {
    room.resize(room.size() * 2);
  }
  return found == nullptr ? std::nullopt : std::optional<Record>(*found);
}

std::optional<unsigned> UserId(const std::string& name) {
  auto found = Lookup<struct passwd>(name, getpwnam_r);
  return found ? std::optional<unsigned>(found->pw_uid) : std::nullopt;
}

std::optional<unsigned> GroupId(const std::string& name) {
  auto found = Lookup<struct group>(name, getgrnam_r);
  return found ? std::optional<unsigned>(found->gr_gid) : std::nullopt;
}

// As virGetUserID: "+107" is a number, anything else a name first.
unsigned Id(const std::string& path, const char* key, std::optional<unsigned> (*named)(const std::string&)) {
  const std::optional<std::string> value = Setting(path, key);
  if (!value) return named(kDefaultName).value_or(0);
  const bool is_number = value->starts_with('+');
  std::optional<unsigned> id = is_number ? std::nullopt : named(*value);
  if (!id) id = Number(is_number ? std::string_view(*value).substr(1) : std::string_view(*value));
  if (!id) Fail(path + ": " + key + ": there is no '" + *value + "'");
  return *id;
}

}  // namespace

VtpmOwner OwnerOfVtpms(const std::string& qemu_conf) {
  if (geteuid() != 0) return {geteuid(), getegid()};
  return {Id(qemu_conf, "swtpm_user", UserId), Id(qemu_conf, "swtpm_group", GroupId)};
}

}  // namespace tvmmp
