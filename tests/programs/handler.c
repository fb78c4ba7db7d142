/* crash-test
about = "a fault inside a signal handler that interrupted a loop"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "on_signal", "?", "...", "busy", "main"]
flags = "-g -O1"
[builds.same-stack]
[builds.altstack]
args = ["altstack"]
*/
#include <signal.h>
#include <stdio.h>
#include "ready.h"

KEEP void fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    fault_here(info ? NULL : (int *)1);
    AFTER_CALL;
}

KEEP int busy(void) {
    int result = raise(SIGUSR1);
    AFTER_CALL;
    return result + 1;
}

int main(int argc, char **argv) {
    (void)argv;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    if (argc > 1) {
        stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
        sigaltstack(&other, NULL);
        action.sa_flags |= SA_ONSTACK;
    }
    sigaction(SIGUSR1, &action, NULL);
    int value = busy();
    AFTER_CALL;
    return value;
}
