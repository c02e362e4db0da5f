// tvmmp-hook: what libvirtd runs for each event of a QEMU domain (hooks/, SPEC "hook").
//
//   tvmmp-hook [--socket PATH] [--protected-dir DIR] [--deadline-ms N] NAME OPERATION SUB-OPERATION EXTRA  < domain.xml
//
// It asks the agent over a UNIX socket and exits with the agent's answer: 0 lets libvirt go on, 1 refuses. For a
// protected VM everything that goes wrong is a refusal; an unprotected VM is let pass without asking. Nothing is ever
// written to stdout (libvirt would take it for a new domain XML); the reason is one line on stderr, which libvirt shows
// at the end of the user's error. It runs no program, opens no file but the socket, and allocates nothing.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/tvmmp/hook.sock"
#define PROTECTED_DIR_DEFAULT "/var/lib/tvmmp/protected"
#define NAMESPACE_URI "https://tvmmp.org/xmlns/vm/1.0"

enum {
  XML_BYTES_MAX = 4 * 1024 * 1024,  // libvirt's own bound on a string in a message (REMOTE_STRING_MAX)
  ARGUMENT_BYTES_MAX = 4096,
  ARGUMENTS = 4,
  HEADER_BYTES_MAX = 4 + ARGUMENTS * (2 + ARGUMENT_BYTES_MAX),
  ANSWER_TEXT_BYTES_MAX = 4096,
  ANSWER_HEAD_BYTES = 3,
  DEADLINE_MIGRATE_MS = 60000,
  DEADLINE_GATE_MS = 30000,
  DEADLINE_NOTICE_MS = 5000,
  DEADLINE_MS_MAX = 600000,
  CONNECT_RETRY_MS = 5,
  UUID_CHARS = 36,
};

// Static, so that no size that a caller chooses turns into an allocation. The frame is header || XML; the header's
// length is known before the XML is read, so the XML is read straight into its place.
static unsigned char frame[HEADER_BYTES_MAX + XML_BYTES_MAX];

struct request {
  const char *socket_path;
  const char *protected_dir;
  const char *arguments[ARGUMENTS];
  long deadline_ms;
  struct timespec end;
  size_t header_bytes;
  size_t xml_bytes;
  bool xml_complete;
};

// Notices speak of what has happened: a refusal would come too late, or kill a guest that runs (libvirt ends the domain
// when `reconnect` or `started` fail). The doors are prepare, start, migrate and restore, and any name we do not know.
static bool is_notice(const struct request *r) {
  static const char *const notices[] = {"started", "stopped", "release", "reconnect", "attach"};
  for (size_t i = 0; i < sizeof(notices) / sizeof(notices[0]); i++) {
    if (strcmp(r->arguments[1], notices[i]) == 0) return true;
  }
  return false;
}

// One line on stderr in a single write: `tvmmp: <text>`, with control characters made blanks.
static void say(const char *text, size_t length) {
  static char line[ANSWER_TEXT_BYTES_MAX + 16];
  size_t used = 0;
  memcpy(line, "tvmmp: ", 7);
  used = 7;
  if (length > ANSWER_TEXT_BYTES_MAX) length = ANSWER_TEXT_BYTES_MAX;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    line[used++] = (c < 0x20 || c == 0x7f) ? ' ' : (char)c;
  }
  line[used++] = '\n';
  ssize_t written;
  do written = write(STDERR_FILENO, line, used);
  while (written < 0 && errno == EINTR);
}

// What to do when the agent gave no answer: a door stays shut, a notice does not hold libvirt up.
static int without_answer(const struct request *r, const char *reason) {
  char text[512];
  int length = snprintf(text, sizeof(text), "%s: %s", is_notice(r) ? "not reported" : "refused", reason);
  if (length < 0) length = 0;
  if ((size_t)length >= sizeof(text)) length = sizeof(text) - 1;
  say(text, (size_t)length);
  return is_notice(r) ? 0 : 1;
}

static void set_deadline(struct request *r) {
  if (r->deadline_ms == 0) {
    r->deadline_ms = is_notice(r)                                 ? DEADLINE_NOTICE_MS
                     : strcmp(r->arguments[1], "migrate") == 0 ? DEADLINE_MIGRATE_MS
                                                                  : DEADLINE_GATE_MS;
  }
  clock_gettime(CLOCK_MONOTONIC, &r->end);
  r->end.tv_sec += r->deadline_ms / 1000;
  r->end.tv_nsec += (r->deadline_ms % 1000) * 1000000L;
  if (r->end.tv_nsec >= 1000000000L) {
    r->end.tv_sec++;
    r->end.tv_nsec -= 1000000000L;
  }
}

static long remaining_ms(const struct request *r) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  long ms = (long)(r->end.tv_sec - now.tv_sec) * 1000 + (r->end.tv_nsec - now.tv_nsec) / 1000000L;
  return ms < 0 ? 0 : ms;
}

// True when fd is ready (or in error, which the next call on it will report); false when the deadline has passed.
static bool wait_for(const struct request *r, int fd, short events) {
  for (;;) {
    long left = remaining_ms(r);
    if (left == 0) return false;
    struct pollfd item = {.fd = fd, .events = events, .revents = 0};
    int ready = poll(&item, 1, (int)left);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;
  }
}

static void put_u16(unsigned char *at, size_t value) {
  at[0] = (unsigned char)(value >> 8);
  at[1] = (unsigned char)value;
}

// Header: for each argument its length (u16) and bytes; the XML follows. The frame's length is filled in at the end.
static bool put_header(struct request *r) {
  size_t at = 4;
  for (int i = 0; i < ARGUMENTS; i++) {
    size_t length = strnlen(r->arguments[i], ARGUMENT_BYTES_MAX + 1);
    if (length > ARGUMENT_BYTES_MAX) return false;
    put_u16(frame + at, length);
    memcpy(frame + at + 2, r->arguments[i], length);
    at += 2 + length;
  }
  r->header_bytes = at;
  return true;
}

// Reads stdin to its end (libvirtd must never get EPIPE); what is beyond the bound is read and dropped.
static void read_xml(struct request *r) {
  static unsigned char dropped[65536];
  r->xml_complete = false;
  bool fits = true;
  for (;;) {
    if (!wait_for(r, STDIN_FILENO, POLLIN)) return;
    size_t room = XML_BYTES_MAX - r->xml_bytes;
    ssize_t got = room > 0 ? read(STDIN_FILENO, frame + r->header_bytes + r->xml_bytes, room)
                           : read(STDIN_FILENO, dropped, sizeof(dropped));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return;
    if (got == 0) break;
    if (room > 0) r->xml_bytes += (size_t)got;
    else fits = false;
  }
  r->xml_complete = fits && r->xml_bytes > 0;
}

// The text of the first <uuid> element: libvirt writes it before anything that a user words freely.
static bool find_uuid(const struct request *r, char uuid[UUID_CHARS + 1]) {
  const unsigned char *xml = frame + r->header_bytes;
  const unsigned char *at = memmem(xml, r->xml_bytes, "<uuid>", 6);
  if (at == NULL) return false;
  at += 6;
  if ((size_t)(xml + r->xml_bytes - at) < UUID_CHARS) return false;
  for (int i = 0; i < UUID_CHARS; i++) {
    char c = (char)at[i];
    if (c >= 'A' && c <= 'F') c = (char)(c - 'A' + 'a');
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (dash ? c != '-' : !hex) return false;
    uuid[i] = c;
  }
  uuid[UUID_CHARS] = '\0';
  return true;
}

// A VM is protected when its XML carries our metadata or this host has marked its UUID. In doubt it is.
static bool is_protected(const struct request *r) {
  if (!r->xml_complete) return true;
  if (memmem(frame + r->header_bytes, r->xml_bytes, NAMESPACE_URI, strlen(NAMESPACE_URI)) != NULL) return true;
  char uuid[UUID_CHARS + 1];
  if (!find_uuid(r, uuid)) return true;
  char path[4096];
  int length = snprintf(path, sizeof(path), "%s/%s", r->protected_dir, uuid);
  if (length < 0 || (size_t)length >= sizeof(path)) return true;
  struct stat status;
  if (lstat(path, &status) == 0) return true;
  return errno != ENOENT && errno != ENOTDIR;
}

// Connects within the deadline. On failure returns -1 with the reason in words.
static int connect_agent(const struct request *r, char *reason, size_t size) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(r->socket_path);
  if (length == 0 || length >= sizeof(address.sun_path)) {
    snprintf(reason, size, "the path of the agent's socket is too long");
    return -1;
  }
  memcpy(address.sun_path, r->socket_path, length + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    snprintf(reason, size, "cannot open a socket: %s", strerror(errno));
    return -1;
  }
  while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
    int error = errno;
    if (error == EISCONN) break;
    if (error == EINTR) continue;
    if (error == EAGAIN && remaining_ms(r) > 0) {  // the agent's backlog is full: it is busy, not gone
      poll(NULL, 0, CONNECT_RETRY_MS);
      continue;
    }
    if (error == ENOENT || error == ECONNREFUSED) {
      snprintf(reason, size, "the tvmmp agent is not running on this host (systemctl start tvmmpd)");
    } else if (error == EAGAIN) {
      snprintf(reason, size, "the tvmmp agent is too busy to answer within %ld ms (journalctl -u tvmmpd)", r->deadline_ms);
    } else {
      snprintf(reason, size, "cannot reach the tvmmp agent at %s: %s", r->socket_path, strerror(error));
    }
    close(fd);
    return -1;
  }
  struct ucred peer;
  socklen_t peer_bytes = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) != 0 || (peer.uid != 0 && peer.uid != geteuid())) {
    snprintf(reason, size, "the socket %s does not belong to the tvmmp agent", r->socket_path);
    close(fd);
    return -1;
  }
  return fd;
}

enum outcome { DONE, TIMED_OUT, BROKEN };

static enum outcome send_all(const struct request *r, int fd, const unsigned char *data, size_t length) {
  while (length > 0) {
    if (!wait_for(r, fd, POLLOUT)) return TIMED_OUT;
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (sent < 0) return BROKEN;
    data += sent;
    length -= (size_t)sent;
  }
  return DONE;
}

static enum outcome receive_all(const struct request *r, int fd, unsigned char *data, size_t length) {
  while (length > 0) {
    if (!wait_for(r, fd, POLLIN)) return TIMED_OUT;
    ssize_t got = recv(fd, data, length, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return BROKEN;
    data += got;
    length -= (size_t)got;
  }
  return DONE;
}

// One question, one answer: exit code (0 or 1), length of the text (u16), text.
static int ask(const struct request *r, int fd) {
  static unsigned char text[ANSWER_TEXT_BYTES_MAX];
  unsigned char head[ANSWER_HEAD_BYTES];
  size_t total = r->header_bytes + r->xml_bytes;
  size_t body = total - 4;
  put_u16(frame, body >> 16);
  put_u16(frame + 2, body & 0xffff);
  enum outcome outcome = send_all(r, fd, frame, total);
  // An agent may refuse before it has read all: its answer counts even where sending broke off.
  if (outcome != TIMED_OUT) outcome = receive_all(r, fd, head, sizeof(head));
  size_t length = 0;
  if (outcome == DONE) {
    length = (size_t)head[1] << 8 | head[2];
    outcome = head[0] <= 1 && length <= sizeof(text) ? receive_all(r, fd, text, length) : BROKEN;
  }
  if (outcome == TIMED_OUT) {
    char reason[128];
    snprintf(reason, sizeof(reason), "the tvmmp agent did not answer within %ld ms (journalctl -u tvmmpd)", r->deadline_ms);
    return without_answer(r, reason);
  }
  if (outcome == BROKEN) {
    return without_answer(r, "the tvmmp agent gave no valid answer (journalctl -u tvmmpd; is it of another version?)");
  }
  if (length > 0) say((const char *)text, length);
  return is_notice(r) ? 0 : head[0];
}

static bool parse_deadline(const char *text, long *ms) {
  char *end = NULL;
  errno = 0;
  *ms = strtol(text, &end, 10);
  return errno == 0 && end != text && *end == '\0' && *ms > 0 && *ms <= DEADLINE_MS_MAX;
}

// libvirt passes exactly four arguments and a VM may be called "--socket": so the last four are never options.
static bool parse_arguments(int argc, char **argv, struct request *r) {
  if (argc < 1 + ARGUMENTS) return false;
  int first = argc - ARGUMENTS;
  for (int i = 0; i < ARGUMENTS; i++) r->arguments[i] = argv[first + i];
  for (int i = 1; i < first; i += 2) {
    if (i + 1 >= first) return false;
    if (strcmp(argv[i], "--socket") == 0) r->socket_path = argv[i + 1];
    else if (strcmp(argv[i], "--protected-dir") == 0) r->protected_dir = argv[i + 1];
    else if (strcmp(argv[i], "--deadline-ms") != 0 || !parse_deadline(argv[i + 1], &r->deadline_ms)) return false;
  }
  return true;
}

int main(int argc, char **argv) {
  static const char usage[] =
      "refused: usage: tvmmp-hook [--socket PATH] [--protected-dir DIR] [--deadline-ms N] NAME OPERATION SUB-OPERATION EXTRA";
  struct request r = {.socket_path = SOCKET_DEFAULT, .protected_dir = PROTECTED_DIR_DEFAULT};
  signal(SIGPIPE, SIG_IGN);
  if (!parse_arguments(argc, argv, &r)) {
    say(usage, sizeof(usage) - 1);
    return 1;
  }
  set_deadline(&r);
  if (!put_header(&r)) return without_answer(&r, "an argument is longer than 4096 bytes");
  read_xml(&r);
  int code;
  char reason[256];
  if (!is_protected(&r)) {
    code = 0;
  } else if (!r.xml_complete) {
    code = without_answer(&r, "libvirt gave no complete domain XML, or one of more than 4 MiB");
  } else {
    int fd = connect_agent(&r, reason, sizeof(reason));
    code = fd < 0 ? without_answer(&r, reason) : ask(&r, fd);
    if (fd >= 0) close(fd);
  }
  explicit_bzero(frame, r.header_bytes + r.xml_bytes);  // the XML may hold graphics passwords
  return code;
}
