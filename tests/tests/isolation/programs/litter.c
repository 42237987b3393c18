/* I11: leaves what is hard to remove. Arguments: a folder of somebody else, how deep, how many files. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char name[64];
    if (argc < 4) return 2;
    printf("folder %s\n", getenv("HOME"));
    int top = open(".", O_RDONLY | O_DIRECTORY);
    for (long i = 0; i < atol(argv[3]); i++) {
        if (i % 1000 == 0) {
            if (fchdir(top) < 0) return 3;
            snprintf(name, sizeof name, "many-%ld", i / 1000);
            if (mkdir(name, 0700) < 0 || chdir(name) < 0) return 4;
        }
        snprintf(name, sizeof name, "%ld\n\x1b[31m\xff", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0);
        if (fd < 0) return 5;
        close(fd);
    }
    if (fchdir(top) < 0) return 6;
    for (long i = 0; i < atol(argv[2]); i++)
        if (mkdir("deep", 0700) < 0 || symlink(argv[1], "link") < 0 || chdir("deep") < 0) return 7;
    if (fchdir(top) < 0) return 8;
    mount("none", "deep", "tmpfs", 0, NULL);
    mount(argv[1], "deep", NULL, MS_BIND, NULL);
    if (mkdir("closed", 0700) < 0 || mkdir("closed/inner", 0700) < 0 || symlink(argv[1], "closed/inner/link") < 0) return 9;
    chmod("closed/inner", 0);
    chmod("closed", 0);
    if (fchdir(top) < 0) return 10;
    chmod(".", 0);
    puts("left");
    return 0;
}
