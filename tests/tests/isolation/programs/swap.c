/* I9: swaps files and folders that are looked at from outside for links to what must not be touched, again and again.
   Arguments: a folder of somebody else with a file `secret` in it, how often, names to swap beside our own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *const NAMES[] = {".ruche-progress", "result.txt", "out", "a.out", "swap.c"};
#define COUNT (int)(sizeof NAMES / sizeof *NAMES)

static void write_file(const char *name, const char *text) {
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW, 0644);
    if (fd >= 0 && write(fd, text, strlen(text)) >= 0) close(fd);
}

int main(int argc, char **argv) {
    char secret[4096], other[64];
    if (argc < 3) return 2;
    long rounds = atol(argv[2]);
    snprintf(secret, sizeof secret, "%s/secret", argv[1]);
    if (open(secret, O_RDONLY) >= 0) puts("read the secret");
    if (link(secret, "hard") == 0) puts("linked the secret");
    if (mknod("device", S_IFCHR | 0666, makedev(1, 5)) == 0) puts("made a device");
    write_file(".ruche-progress", "1 swapping\n");
    write_file("result.txt", "an honest result\n");
    if (mkdir("out", 0755) < 0) return 3;
    write_file("out/secret", "our own\n");
    if (symlink(secret, "to-the-secret") < 0 || symlink(argv[1], "to-the-folder") < 0) return 4;
    if (mkfifo("pipe", 0666) < 0 || mkfifo("pipe.txt", 0666) < 0) return 5;
    for (int i = 0; i < COUNT; i++) {
        snprintf(other, sizeof other, "other-%d", i);
        int folder = strcmp(NAMES[i], "out") == 0;
        if (symlink(folder ? argv[1] : secret, other) < 0) return 6;
    }
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < COUNT; i++) {
            snprintf(other, sizeof other, "other-%d", i);
            if (renameat2(AT_FDCWD, NAMES[i], AT_FDCWD, other, RENAME_EXCHANGE) < 0 && errno != ENOENT) return 7;
            if (i == 0 && round % 64 == 0) {
                /* A pipe in the place of the progress, too: whoever opens it must not wait. */
                renameat2(AT_FDCWD, NAMES[i], AT_FDCWD, "pipe", RENAME_EXCHANGE);
                renameat2(AT_FDCWD, NAMES[i], AT_FDCWD, "pipe", RENAME_EXCHANGE);
            }
        }
    printf("swapped %ld\n", rounds);
    /* In the end every name is a link to the secret, or to its folder. */
    for (int i = 0; i < COUNT; i++) {
        char target[8];
        snprintf(other, sizeof other, "other-%d", i);
        if (readlink(NAMES[i], target, sizeof target) < 0) renameat2(AT_FDCWD, NAMES[i], AT_FDCWD, other, RENAME_EXCHANGE);
    }
    write_file("plain.txt", "an honest file\n");
    return 0;
}
