#include <stdio.h>

int main(void) {
    puts("the semicolon is missing")
    return 0;
}
