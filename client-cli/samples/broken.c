/* Does not compile: the semicolon after the call is missing. */
#include <stdio.h>

int main(void) {
    puts("never printed")
    return 0;
}
