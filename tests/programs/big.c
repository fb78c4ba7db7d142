/* crash-test
about = "the heap holds 300 MB that it has touched"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
args = ["300"]
flags = "-g -O1"
*/
#include <string.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

int main(int argc, char **argv) {
    size_t size = (size_t)(argc > 1 ? atol(argv[1]) : 10) << 20;
    char *volatile memory = malloc(size);
    memset(memory, 'x', size);
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}
