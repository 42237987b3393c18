/* Finds the number below a million with the longest Collatz sequence. */
#include <stdio.h>

int main(void) {
    unsigned best = 1, best_steps = 0;
    for (unsigned start = 1; start < 1000000; start++) {
        unsigned steps = 0;
        for (unsigned long number = start; number != 1; steps++)
            number = number % 2 ? 3 * number + 1 : number / 2;
        if (steps > best_steps) {
            best = start;
            best_steps = steps;
        }
    }
    printf("%u takes %u steps to reach 1.\n", best, best_steps);
    return 0;
}
