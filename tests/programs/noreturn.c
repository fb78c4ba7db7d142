/* crash-test
about = "a call that never returns is the last instruction: the return address lies in the next function"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["die", "last_call", "main"]
flags = "-g -O2"
*/
#include "ready.h"

__attribute__((noreturn)) KEEP void die(int *where) {
    *(volatile int *)where = 1;
    for (;;) pause();
}

__attribute__((noreturn)) KEEP void last_call(void) {
    volatile char room[64] = {0};
    die((int *)(long)room[3]);
}

KEEP int next_function(int value) {
    AFTER_CALL;
    return value * 3;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 5) return next_function(argc);
    last_call();
}
