/* I13: takes memory until something happens. `here`: in this process; `children`: in eight children, a part in each;
   `file PATH`: as a file in memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE (1 << 20)

static void take(long pieces) {
    for (long i = 0; pieces < 0 || i < pieces; i++) {
        char *piece = malloc(PIECE);
        if (!piece) {
            puts("no memory");
            fflush(stdout);
            _exit(3);
        }
        memset(piece, 1 + (int)i, PIECE);
    }
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "file") == 0) {
        static char piece[PIECE];
        int fd = open(argv[2], O_CREAT | O_WRONLY, 0600);
        if (fd < 0) return 4;
        memset(piece, 1, sizeof piece);
        for (;;)
            if (write(fd, piece, sizeof piece) < 0) {
                printf("%s\n", strerrorname_np(errno));
                return 5;
            }
    }
    if (argc > 1 && strcmp(argv[1], "children") == 0) {
        for (int i = 0; i < 8; i++)
            if (fork() == 0) {
                take(24);
                for (;;) pause();
            }
        while (wait(NULL) > 0) {}
        return 0;
    }
    take(-1);
    return 0;
}
