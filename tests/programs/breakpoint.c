/* crash-test
about = "a breakpoint instruction without a debugger: the pc lies behind it"
signal = "SIGTRAP"
code = "SI_KERNEL"
frames = ["stop_here", "main"]
flags = "-g -O1"
*/
#include "ready.h"

KEEP int stop_here(int value) {
    __asm__ volatile("int3" ::: "memory");
    return value;
}

int main(void) {
    int value = stop_here(1);
    AFTER_CALL;
    return value;
}
