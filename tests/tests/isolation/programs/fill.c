/* I15: fills the folder. `many`: files of 64 KiB; `empty`: files with nothing in them; `sparse`: one large file that
   takes no room; `deep`: files in folders of their own; `deleted`: a file without a name. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char piece[1 << 16];

static int fail(const char *what) {
    printf("%s %s\n", what, strerrorname_np(errno));
    return 9;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "many";
    char name[64];
    memset(piece, 7, sizeof piece);
    if (strcmp(how, "sparse") == 0) {
        int fd = open("sparse", O_CREAT | O_RDWR, 0600);
        if (fd < 0 || ftruncate(fd, 48 << 20) < 0) return fail("sparse");
        puts("made");
        return 0;
    }
    if (strcmp(how, "deleted") == 0) {
        int fd = open("deleted", O_CREAT | O_RDWR, 0600);
        if (fd < 0 || unlink("deleted") < 0) return fail("deleted");
        for (;;)
            if (write(fd, piece, sizeof piece) < 0) return fail("deleted");
    }
    for (long i = 0;; i++) {
        if (strcmp(how, "deep") == 0) {
            snprintf(name, sizeof name, "d%ld", i % 64);
            if (mkdir(name, 0700) < 0 && errno != EEXIST) return fail("mkdir");
            if (chdir(name) < 0) return fail("chdir");
        }
        snprintf(name, sizeof name, "f%ld", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) return fail("open");
        if (strcmp(how, "empty") != 0 && write(fd, piece, sizeof piece) < 0) return fail("write");
        close(fd);
    }
}
