/* I14: `N` threads that only compute. */
#include <pthread.h>
#include <stdlib.h>

static void *spin(void *unused) {
    for (volatile unsigned long i = 0;; i++) {}
    return unused;
}

int main(int argc, char **argv) {
    pthread_t thread;
    for (int i = 1; i < (argc > 1 ? atoi(argv[1]) : 1); i++) pthread_create(&thread, NULL, spin, NULL);
    spin(NULL);
    return 0;
}
