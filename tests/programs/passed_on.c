/* crash-test
about = "a fault whose handler ends the program: by abort(), or by the signal once more"
code = "SI_USER"
cause = "null-pointer"
reason = "null-offset"
flags = "-g -O1"
[builds.plain]
signal = "SIGABRT"
code = "SI_TKILL"
frames = ["...", "*abort", "plain", "?", "fault_here", "main"]
[builds.full]
signal = "SIGSEGV"
args = ["full"]
frames = ["...", "full", "?", "fault_here", "main"]
*/
#include <signal.h>
#include "ready.h"

static void plain(int number) {
    (void)number;
    abort();
}

static void full(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    signal(number, SIG_DFL);
    kill(getpid(), number);
    for (;;) pause();
}

KEEP int fault_here(int *where) {
    int value = *(volatile int *)where;
    AFTER_CALL;
    return value + 1;
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = plain};
    (void)argv;
    if (argc > 1) {
        action.sa_sigaction = full;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
    }
    sigaction(SIGSEGV, &action, NULL);
    int value = fault_here((int *)8);
    AFTER_CALL;
    return value;
}
