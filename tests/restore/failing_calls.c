/* Lets calls of the system fail for the files in one directory, also those of TensorFlow's C++.
   Loaded with LD_PRELOAD. begin_failing() starts counting; calls at..at+times-1 fail. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[PATH_MAX];
static size_t length;
static int number;
static long first, last;
static atomic_long seen, failed;
static atomic_int active;

void begin_failing(const char *where, int with, long at, long times) {
    length = strlen(strncpy(directory, where, PATH_MAX - 1));
    number = with, first = at, last = times ? at + times - 1 : LONG_MAX;
    seen = failed = 0;
    active = 1;
}
long end_failing(void) { active = 0; return failed; }
long calls_seen(void) { return seen; }

static int fails(const char *path) {
    if (!active || !path || strncmp(path, directory, length)) return 0;
    long call = ++seen;
    if (call < first || call > last || !number) return 0;
    ++failed;
    errno = number;
    return 1;
}
static int fd_fails(int fd) {
    char link[40], path[PATH_MAX];
    if (!active) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path);
}
static int at_fails(int fd, const char *path) {
    return path && *path && (*path == '/' || fd == AT_FDCWD) ? fails(path) : fd_fails(fd);
}

#define REAL(result, name, types) \
    static result(*real) types; \
    if (!real) real = (result(*) types)dlsym(RTLD_NEXT, #name)
#define MODE() \
    mode_t mode = 0; va_list rest; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE() REAL(int, name, (const char *, int, ...)); \
        return fails(path) ? -1 : real(path, flags, mode); }
OPEN(open) OPEN(open64)
#define OPENAT(name) \
    int name(int fd, const char *path, int flags, ...) { \
        MODE() REAL(int, name, (int, const char *, int, ...)); \
        return at_fails(fd, path) ? -1 : real(fd, path, flags, mode); }
OPENAT(openat) OPENAT(openat64)
#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, name, (const char *, const char *)); \
        return fails(path) ? NULL : real(path, mode); }
FOPEN(fopen) FOPEN(fopen64)
ssize_t read(int fd, void *to, size_t size) {
    REAL(ssize_t, read, (int, void *, size_t));
    return fd_fails(fd) ? -1 : real(fd, to, size);
}
#define PREAD(name) \
    ssize_t name(int fd, void *to, size_t size, off_t at) { \
        REAL(ssize_t, name, (int, void *, size_t, off_t)); \
        return fd_fails(fd) ? -1 : real(fd, to, size, at); }
PREAD(pread) PREAD(pread64)
#define STAT(name, kind) \
    int name(const char *path, struct kind *to) { \
        REAL(int, name, (const char *, struct kind *)); \
        return fails(path) ? -1 : real(path, to); }
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
#define XSTAT(name, kind) \
    int name(int version, const char *path, struct kind *to) { \
        REAL(int, name, (int, const char *, struct kind *)); \
        return fails(path) ? -1 : real(version, path, to); }
XSTAT(__xstat, stat) XSTAT(__xstat64, stat64) XSTAT(__lxstat, stat) XSTAT(__lxstat64, stat64)
#define FSTAT(name, kind) \
    int name(int fd, struct kind *to) { \
        REAL(int, name, (int, struct kind *)); \
        return fd_fails(fd) ? -1 : real(fd, to); }
FSTAT(fstat, stat) FSTAT(fstat64, stat64)
#define FSTATAT(name, kind) \
    int name(int fd, const char *path, struct kind *to, int flags) { \
        REAL(int, name, (int, const char *, struct kind *, int)); \
        return at_fails(fd, path) ? -1 : real(fd, path, to, flags); }
FSTATAT(fstatat, stat) FSTATAT(fstatat64, stat64)
int access(const char *path, int mode) {
    REAL(int, access, (const char *, int));
    return fails(path) ? -1 : real(path, mode);
}
DIR *opendir(const char *path) {
    REAL(DIR *, opendir, (const char *));
    return fails(path) ? NULL : real(path);
}
DIR *fdopendir(int fd) {
    REAL(DIR *, fdopendir, (int));
    return fd_fails(fd) ? NULL : real(fd);
}
#define READDIR(name, kind) \
    struct kind *name(DIR *open) { \
        REAL(struct kind *, name, (DIR *)); \
        return fd_fails(dirfd(open)) ? NULL : real(open); }
READDIR(readdir, dirent) READDIR(readdir64, dirent64)
