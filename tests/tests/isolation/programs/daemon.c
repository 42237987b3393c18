/* I8, I12: children that leave their parents, sessions and groups, ignore every signal that can be ignored, and hold
   the pipes open. Arguments: a word that names them, how many, and `stay` if the first one is to stay as well. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void stay(void) {
    for (int number = 1; number < 65; number++) signal(number, SIG_IGN);
    for (;;) pause();
}

int main(int argc, char **argv) {
    int count = atoi(argv[2]);
    for (int i = 0; i < count; i++) {
        if (fork() != 0) continue;
        setsid();
        if (fork() != 0) _exit(0);
        setsid();
        stay();
    }
    puts("started");
    fflush(stdout);
    if (argc > 3 && strcmp(argv[3], "stay") == 0) stay();
    return 0;
}
