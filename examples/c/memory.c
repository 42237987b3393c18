#include <stdlib.h>
#include <string.h>

/* Takes one megabyte after another; the memory limit ends it. */
int main(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (block != NULL) {
            memset(block, 1, 1 << 20);
        }
    }
}
