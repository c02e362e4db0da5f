// libFuzzer target: the hook client as it is, with an agent that answers anything. Its exit code must be what its input demands, and on
// stderr there is one line at most. Input: operation (1), options (1), length of the answer (2), the agent's answer, the domain XML.
#define main hook_main
#include "../../../native/hook-client.c"
#undef main

#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>

static const char *const operations[] = {"prepare", "start",   "migrate",   "restore", "started",
                                         "stopped", "release", "reconnect", "attach",  ""};
enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static char directory[48];
static char socket_path[64];
static int real_stderr;
static uint8_t answer[65536];
static size_t answer_bytes;
static pthread_mutex_t answering = PTHREAD_MUTEX_INITIALIZER;

static void check(bool holds, const char *what) {
  if (holds) return;
  dprintf(real_stderr, "property: %s\n", what);
  __builtin_trap();
}

// Answers at once, whatever is asked; then reads to the end. Works on a copy: the client may be gone before, and the next one come.
static void *play_agent(void *listening) {
  static char read_away[65536];
  static uint8_t copy[sizeof(answer)];
  for (;;) {
    int fd = accept4(*(int *)listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    pthread_mutex_lock(&answering);
    size_t length = answer_bytes;
    memcpy(copy, answer, length);
    pthread_mutex_unlock(&answering);
    for (size_t at = 0; at < length;) {
      ssize_t sent = send(fd, copy + at, length - at, MSG_NOSIGNAL);
      if (sent <= 0) break;
      at += (size_t)sent;
    }
    shutdown(fd, SHUT_WR);
    while (read(fd, read_away, sizeof(read_away)) > 0) {
    }
    close(fd);
  }
}

static void remove_directory(void) {
  unlink(socket_path);
  rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  static int listening;
  static pthread_t agent;
  signal(SIGPIPE, SIG_IGN);
  snprintf(directory, sizeof(directory), "/dev/shm/tvmmp-fuzz-%d", getpid());
  check(mkdir(directory, 0700) == 0, "a temporary directory");
  snprintf(socket_path, sizeof(socket_path), "%s/hook.sock", directory);
  atexit(remove_directory);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
  listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
  __sanitizer_set_report_fd((void *)(intptr_t)real_stderr);
  check(bind(listening, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listening, 16) == 0, "an agent's socket");
  check(pthread_create(&agent, NULL, play_agent, &listening) == 0, "an agent");
  return 0;
}

// What SPEC 8.1 demands: a door of a protected VM opens for a whole answer of code 0 alone.
static int expected(const char *operation, const uint8_t *xml, size_t xml_bytes) {
  struct request r = {.arguments = {"web", operation, "begin", "-"}};
  if (is_notice(&r)) return 0;
  if (xml_bytes == 0) return 1;
  const uint8_t *uuid = memmem(xml, xml_bytes, "<uuid>", 6);
  bool named = uuid != NULL && (size_t)(xml + xml_bytes - uuid) >= 42;
  for (int i = 0; named && i < 36; i++) {
    uint8_t c = uuid[6 + i];
    bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    named = i == 8 || i == 13 || i == 18 || i == 23 ? c == '-' : hex;
  }
  if (named && memmem(xml, xml_bytes, NAMESPACE_URI, strlen(NAMESPACE_URI)) == NULL) return 0;
  if (answer_bytes < 3 || answer[0] > 1) return 1;
  size_t text = (size_t)answer[1] << 8 | answer[2];
  return text <= ANSWER_TEXT_BYTES_MAX && answer_bytes - 3 >= text ? answer[0] : 1;
}

static void check_line(int said) {
  static char line[65536];
  ssize_t got = pread(said, line, sizeof(line), 0);
  if (got <= 0) return;
  check(got <= ANSWER_TEXT_BYTES_MAX + 16 && memcmp(line, "tvmmp: ", 7) == 0 && line[got - 1] == '\n', "one line on stderr");
  for (ssize_t i = 0; i < got - 1; i++) check((unsigned char)line[i] >= 0x20 && line[i] != 0x7f, "no control characters");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4) return 0;
  size_t length = (size_t)data[2] << 8 | data[3];
  if (length > size - 4) return 0;
  char deadline[8] = "60000";
  if (data[1] & 1) memcpy(deadline, (char[]){(char)data[1], '0', '0', '0', '\0'}, 5);
  const char *operation = operations[data[0] % OPERATIONS];
  const uint8_t *xml = data + 4 + length;
  size_t xml_bytes = size - 4 - length;
  pthread_mutex_lock(&answering);
  memcpy(answer, data + 4, length);
  answer_bytes = length;
  pthread_mutex_unlock(&answering);

  int in = memfd_create("xml", MFD_CLOEXEC), said = memfd_create("stderr", MFD_CLOEXEC);
  check(write(in, xml, xml_bytes) == (ssize_t)xml_bytes && lseek(in, 0, SEEK_SET) == 0, "an input");
  dup2(in, STDIN_FILENO);
  dup2(said, STDERR_FILENO);
  char *argv[] = {"tvmmp-hook", "--socket", socket_path,       "--protected-dir", directory, "--deadline-ms",
                  deadline,     "web",      (char *)operation, "begin",           "-",       NULL};
  int code = hook_main(11, argv);
  dup2(real_stderr, STDERR_FILENO);
  long ms;
  check_line(said);
  check(code == (parse_deadline(deadline, &ms) ? expected(operation, xml, xml_bytes) : 1), "the exit code");
  close(in);
  close(said);
  return 0;
}
