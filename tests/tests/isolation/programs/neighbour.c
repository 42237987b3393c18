/* I6: `leave` puts something wherever programs could meet, and waits; `look` tells what of it is found. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define KEY 0x52756368
#define NAME "/ruche-neighbour"

static int abstract(int listening) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, "\0ruche-neighbour", 16);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 16;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listening) return bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1);
    return connect(fd, (struct sockaddr *)&address, length);
}

static int leave(void) {
    int left = 0;
    mode_t all = 0666;
    umask(0);
    left += shmget(KEY, 4096, IPC_CREAT | all) >= 0;
    left += semget(KEY, 1, IPC_CREAT | all) >= 0;
    left += msgget(KEY, IPC_CREAT | all) >= 0;
    left += mq_open(NAME, O_CREAT | O_RDWR, all, NULL) != (mqd_t)-1;
    left += shm_open(NAME, O_CREAT | O_RDWR, all) >= 0;
    left += sem_open(NAME, O_CREAT, all, 1) != SEM_FAILED;
    left += open("/tmp/ruche-neighbour", O_CREAT | O_RDWR, all) >= 0;
    left += abstract(1) == 0;
    printf("left %d as %d\n", left, (int)getpid());
    fflush(stdout);
    return left;
}

static void seen(const char *what) { printf("seen %s\n", what); }

static void look(void) {
    if (shmget(KEY, 0, 0) >= 0) seen("shared memory of System V");
    if (semget(KEY, 0, 0) >= 0) seen("semaphore of System V");
    if (msgget(KEY, 0) >= 0) seen("message queue of System V");
    if (mq_open(NAME, O_RDWR) != (mqd_t)-1) seen("message queue");
    if (shm_open(NAME, O_RDWR, 0) >= 0) seen("shared memory");
    if (sem_open(NAME, 0) != SEM_FAILED) seen("semaphore");
    if (access("/tmp/ruche-neighbour", F_OK) == 0) seen("file in /tmp");
    if (abstract(0) == 0) seen("abstract socket");
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        char path[300], line[300];
        int pid = atoi(entry->d_name);
        if (pid <= 1 || pid == getpid()) continue;
        snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
        FILE *file = fopen(path, "r");
        if (file && fgets(line, sizeof line, file)) printf("process %d\n", pid);
        if (file) fclose(file);
        if (kill(pid, 0) == 0) printf("signalled %d\n", pid);
    }
    puts("looked");
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "look") == 0) {
        look();
        return 0;
    }
    leave();
    /* With another word it ends at once, and leaves what it made to whoever comes next. */
    while (argc > 1 && strcmp(argv[1], "wait") == 0) pause();
    return 0;
}
