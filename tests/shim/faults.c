/* A preloaded library for the tests of storage and clocks: cc -shared -fPIC -O1 faults.c -ldl
 *
 * RUCHE_SHIM_FOLDER   only files below this folder are looked at
 * RUCHE_SHIM_LOG      every change of such a file is added to this log, with its bytes
 * RUCHE_SHIM_CONTROL  a file of eight numbers, shared with the test while the program runs:
 *   [0] syncs until one fails with EIO      (0: none fails; counts down to 0 when it failed)
 *   [1] writes until one fails with EIO     (the same)
 *   [2] 1 + bytes that may still be written, then ENOSPC (0: no bound)
 *   [3] microseconds added to the wall clock (signed)
 *   [4] syncs so far                        [5] writes so far
 *   [6] faults that were made               [7] free
 *
 * A record of the log is a header (below), the path, for a rename the new path, and the bytes written. Records stand
 * in the order in which the operations took effect; a sync has two, for its begin and for its success.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, SYNC_BEGIN, SYNC_END, TRUNCATE, RENAME, UNLINK, FAULT };

struct header {
    uint32_t operation;
    uint32_t path_bytes;
    uint32_t second_bytes; /* of a rename's new path */
    uint32_t bytes;        /* written */
    uint64_t offset;       /* of a write; the length of a truncation */
    uint64_t at;           /* boot-time clock, microseconds */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[4096];
static size_t folder_bytes;
static int log_file = -1;
static volatile int64_t *control;

/* The real functions. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("RUCHE_SHIM_FOLDER"), *log = getenv("RUCHE_SHIM_LOG");
    const char *shared = getenv("RUCHE_SHIM_CONTROL");
    real_pwrite = REAL(pwrite);
    real_write = REAL(write);
    real_fsync = REAL(fsync);
    real_fdatasync = REAL(fdatasync);
    real_clock_gettime = REAL(clock_gettime);
    if (given && realpath(given, folder)) folder_bytes = strlen(folder);
    if (log) log_file = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (shared) {
        int file = open(shared, O_RDWR | O_CLOEXEC);
        void *place = file < 0 ? MAP_FAILED : mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (place != MAP_FAILED) control = place;
        if (file >= 0) close(file);
    }
}

static int below(const char *path) {
    return folder_bytes && !strncmp(path, folder, folder_bytes) && path[folder_bytes] == '/';
}

/* The path of an open file, if it lies below the folder; SQLite's shared memory is no storage. */
static int path_of(int file, char *path) {
    char name[64];
    if (!folder_bytes || file == log_file) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, 4095);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

/* A path as the program wrote it, made whole. Its folder exists, the file itself need not. */
static int whole(const char *given, char *path) {
    char copy[4096];
    if (!folder_bytes || strlen(given) >= sizeof copy) return 0;
    strcpy(copy, given);
    char *slash = strrchr(copy, '/'), real[4096];
    const char *name = slash ? slash + 1 : copy, *parent = slash ? copy : ".";
    char kept[256];
    if (strlen(name) >= sizeof kept) return 0;
    strcpy(kept, name);
    if (slash) *slash = 0;
    if (!realpath(*parent ? parent : "/", real)) return 0;
    if (snprintf(path, 4096, "%s/%s", real, kept) >= 4096) return 0;
    return below(path);
}

/* Called with the lock held. */
static void record(uint32_t operation, const char *path, const char *second, uint64_t offset, const void *data,
                   size_t bytes) {
    struct timespec now;
    real_clock_gettime(CLOCK_BOOTTIME, &now);
    struct header header = {operation, (uint32_t)strlen(path), second ? (uint32_t)strlen(second) : 0, (uint32_t)bytes,
                            offset, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000};
    struct iovec parts[4] = {{&header, sizeof header},
                             {(void *)path, header.path_bytes},
                             {(void *)second, header.second_bytes},
                             {(void *)data, bytes}};
    if (log_file >= 0 && writev(log_file, parts, 4) < 0) abort();
}

/* Whether this operation is the one that fails: a counter of the test has come to its end. */
static int fails(int counter, int total, const char *path) {
    if (!control) return 0;
    control[total]++;
    if (control[counter] <= 0 || --control[counter] > 0) return 0;
    control[6]++;
    record(FAULT, path, NULL, 0, NULL, 0);
    return 1;
}

/* How many of `bytes` there is room for; -1 when there is none at all. */
static ssize_t room(size_t bytes) {
    if (!control || control[2] <= 0) return (ssize_t)bytes;
    int64_t left = control[2] - 1;
    if (left <= 0 && bytes) return -1;
    if ((int64_t)bytes > left) bytes = (size_t)left;
    control[2] -= (int64_t)bytes;
    return (ssize_t)bytes;
}

static ssize_t change(int file, const char *path, const void *data, size_t bytes, off_t offset, int at_end) {
    pthread_mutex_lock(&lock);
    ssize_t result = -1;
    int error = EIO;
    if (!fails(1, 5, path)) {
        ssize_t fitting = room(bytes);
        error = ENOSPC;
        if (fitting >= 0) {
            if (at_end) {
                struct stat state;
                offset = fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &state) ? state.st_size : lseek(file, 0, SEEK_CUR);
                result = real_write(file, data, (size_t)fitting);
            } else {
                result = real_pwrite(file, data, (size_t)fitting, offset);
            }
            error = errno;
            if (result > 0) record(WRITE, path, NULL, (uint64_t)offset, data, (size_t)result);
        }
    }
    pthread_mutex_unlock(&lock);
    if (result < 0) errno = error;
    return result;
}

ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset) {
    char path[4096];
    if (!path_of(file, path)) return real_pwrite(file, data, bytes, offset);
    return change(file, path, data, bytes, offset, 0);
}
ssize_t pwrite64(int file, const void *data, size_t bytes, off_t offset) { return pwrite(file, data, bytes, offset); }

ssize_t write(int file, const void *data, size_t bytes) {
    char path[4096];
    if (!real_write) real_write = REAL(write);
    if (!path_of(file, path)) return real_write(file, data, bytes);
    return change(file, path, data, bytes, 0, 1);
}

static int synchronise(int file, int (*real)(int)) {
    char path[4096] = "";
    /* The folder itself is synced too, when files come and go. */
    if (!path_of(file, path) && (!folder_bytes || strcmp(path, folder))) return real(file);
    pthread_mutex_lock(&lock);
    int failing = fails(0, 4, path);
    if (!failing) record(SYNC_BEGIN, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (failing) {
        errno = EIO;
        return -1;
    }
    int result = real(file);
    if (!result) {
        pthread_mutex_lock(&lock);
        record(SYNC_END, path, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
int fsync(int file) { return synchronise(file, real_fsync); }
int fdatasync(int file) { return synchronise(file, real_fdatasync); }

int ftruncate(int file, off_t length) {
    char path[4096];
    int (*real)(int, off_t) = REAL(ftruncate);
    if (!path_of(file, path)) return real(file, length);
    pthread_mutex_lock(&lock);
    int result = real(file, length);
    if (!result) record(TRUNCATE, path, NULL, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int file, off_t length) { return ftruncate(file, length); }

static int open_at(int parent, const char *given, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    char path[4096];
    if (!(flags & (O_CREAT | O_TRUNC)) || !whole(given, path)) return real(parent, given, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat state;
    int existed = !stat(path, &state);
    int file = real(parent, given, flags, mode);
    if (file >= 0 && !existed) record(CREATE, path, NULL, 0, NULL, 0);
    else if (file >= 0 && flags & O_TRUNC) record(TRUNCATE, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return file;
}
#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }
int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = REAL(rename);
    char first[4096], second[4096];
    if (!whole(from, first) || !whole(to, second)) return real(from, to);
    pthread_mutex_lock(&lock);
    int result = real(from, to);
    if (!result) record(RENAME, first, second, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *given) {
    int (*real)(const char *) = REAL(unlink);
    char path[4096];
    if (!whole(given, path)) return real(given);
    pthread_mutex_lock(&lock);
    int result = real(given);
    if (!result) record(UNLINK, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

/* The wall clock alone: leases and deadlines use the boot-time clock, which no jump touches. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) real_clock_gettime = REAL(clock_gettime);
    int result = real_clock_gettime(clock, time);
    if (!result && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = time->tv_nsec + control[3] % 1000000 * 1000;
        time->tv_sec += control[3] / 1000000 + (nanos < 0 ? -1 : nanos / 1000000000);
        time->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
    }
    return result;
}
time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict place, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    place->tv_sec = now.tv_sec;
    place->tv_usec = now.tv_nsec / 1000;
    return 0;
}
