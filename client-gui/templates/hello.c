/* hello.c: greets from the slave that runs it */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *who = argc > 1 ? argv[1] : "world";
    printf("Hello, %s, from attempt %s\n", who, getenv("RUCHE_ATTEMPT"));
    return 0;
}
