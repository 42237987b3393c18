/* I16: takes as much as there is of what the kernel counts for a process, and tells how much that was. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

int main(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("descriptors-hard %llu\n", (unsigned long long)limit.rlim_max);
    getrlimit(RLIMIT_CORE, &limit);
    printf("core-hard %llu\n", (unsigned long long)limit.rlim_max);
    /* Queues before descriptors, as each is one. */
    int queues = 0;
    for (char name[32]; queues < 10000; queues++) {
        snprintf(name, sizeof name, "/ruche-%d", queues);
        if (mq_open(name, O_CREAT | O_RDWR, 0600, NULL) == (mqd_t)-1) break;
    }
    printf("queues %d\n", queues);
    long locked = 0;
    while (locked < 4096) {
        void *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED || mlock(piece, 1 << 20) < 0) break;
        locked++;
    }
    printf("locked %ld\n", locked);
    int opened = 0;
    while (opened < 1000000 && open("/dev/null", O_RDONLY) >= 0) opened++;
    printf("descriptors %d %s\n", opened, strerrorname_np(errno));
    return 0;
}
