/* crash-test
about = "the same memory freed twice"
signal = "SIGABRT"
cause = "abort"
reason = "double-free"
message = "double free"
frames = ["...", "*abort", "...", "*free", "free_twice", "main"]
flags = "-g -O1"
*/
#include "ready.h"

KEEP int free_twice(char *volatile memory) {
    free(memory);
    free(memory);
    AFTER_CALL;
    return 1;
}

int main(void) {
    int value = free_twice(malloc(100));
    AFTER_CALL;
    return value;
}
