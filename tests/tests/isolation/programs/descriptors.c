/* I4: every descriptor that is open, and where we are. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    char folder[4096];
    const char *home = getenv("HOME");
    for (int fd = 0; fd < 70000; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("open %d\n", fd);
    if (!getcwd(folder, sizeof folder)) return 1;
    printf("folder %s\n", home && strcmp(folder, home) == 0 ? "own" : folder);
    return 0;
}
