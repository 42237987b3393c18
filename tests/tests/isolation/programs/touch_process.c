/* I5, I6: tries to read, change, trace or signal the processes whose numbers are given, and our parent; tells what works. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int tried;

static void tell(int reached, const char *how, int pid) {
    tried++;
    if (reached) printf("reached %s %d\n", how, pid);
}

static void files_of(int pid) {
    static const char *const read_only[] = {"environ", "maps", "auxv", "stack", "syscall", "io", "pagemap"};
    static const char *const writable[] = {"mem", "oom_score_adj", "clear_refs", "exe", "uid_map"};
    static const char *const folders[] = {"root", "cwd", "fd", "map_files", "task"};
    char path[256], bytes[64];
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, read_only[i]);
        int fd = open(path, O_RDONLY);
        tell(fd >= 0 && read(fd, bytes, sizeof bytes) > 0, read_only[i], pid);
        if (fd >= 0) close(fd);
    }
    for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, writable[i]);
        int fd = open(path, O_RDWR);
        tell(fd >= 0, writable[i], pid);
        if (fd >= 0) close(fd);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders - 1; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s/.", pid, folders[i]);
        int fd = open(path, O_RDONLY | O_DIRECTORY);
        tell(fd >= 0, folders[i], pid);
        if (fd >= 0) close(fd);
    }
    for (int number = 0; number < 64; number++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
        int fd = open(path, O_RDWR | O_NONBLOCK);
        if (fd < 0) fd = open(path, O_RDONLY | O_NONBLOCK);
        tell(fd >= 0, "one descriptor", pid);
        if (fd >= 0) close(fd);
    }
}

static void calls_on(int pid) {
    char bytes[16];
    struct iovec ours = {bytes, sizeof bytes}, theirs = {(void *)0x400000, sizeof bytes};
    tell(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0, "ptrace", pid);
    tell(process_vm_readv(pid, &ours, 1, &theirs, 1, 0) >= 0 || errno == EFAULT, "process_vm_readv", pid);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        tell(syscall(SYS_pidfd_getfd, pidfd, 3, 0) >= 0, "pidfd_getfd", pid);
        tell(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 && pid != 1, "pidfd_send_signal", pid);
        close(pidfd);
    }
    /* Limits and the scheduler's word on another process. */
    struct rlimit limit;
    tell(prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0, "prlimit", pid);
    tell(syscall(SYS_kcmp, getpid(), pid, 0, 0, 0) >= 0, "kcmp", pid);
}

int main(int argc, char **argv) {
    files_of(getppid());
    calls_on(getppid());
    for (int i = 1; i < argc; i++) {
        int pid = atoi(argv[i]);
        files_of(pid);
        calls_on(pid);
        tell(kill(pid, 0) == 0 || errno == EPERM ? kill(pid, 0) == 0 : 0, "kill", pid);
    }
    /* What is not there cannot be told from what may not be touched; a signal that ends is tried last. */
    kill(getppid(), SIGSTOP);
    kill(getppid(), SIGTERM);
    kill(getppid(), SIGUSR1);
    kill(getppid(), SIGUSR2);
    kill(getppid(), SIGKILL);
    for (int i = 1; i < argc; i++) kill(atoi(argv[i]), SIGKILL);
    printf("tried %d\n", tried);
    return 0;
}
