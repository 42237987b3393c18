/* Put under one of our programs for a figure of `make bench`, and under nothing else.
 *
 *   RUCHE_BENCH_NO_SYNC=1      a sync returns at once and syncs nothing: how fast the store would be without durability
 *   RUCHE_BENCH_HOLD_MIB=N     the agent of a slave holds so much memory, every page of it written
 *
 * What the program starts does not inherit it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int no_sync;

__attribute__((constructor)) static void begin(void) {
    const char *hold = getenv("RUCHE_BENCH_HOLD_MIB");
    no_sync = getenv("RUCHE_BENCH_NO_SYNC") != NULL;
    if (hold) {
        size_t bytes = strtoul(hold, NULL, 10) << 20;
        char *held = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (held == MAP_FAILED) abort();
        /* Small pages, as a heap that grew piece by piece has them. */
        madvise(held, bytes, MADV_NOHUGEPAGE);
        memset(held, 1, bytes);
    }
    unsetenv("LD_PRELOAD");
}

int fsync(int file) { return no_sync ? 0 : (int)syscall(SYS_fsync, file); }
int fdatasync(int file) { return no_sync ? 0 : (int)syscall(SYS_fdatasync, file); }
