/* crash-test
about = "a failed assertion; glibc keeps its text"
signal = "SIGABRT"
cause = "abort"
message = "shelf == 3"
frames = ["...", "*abort", "...", "check_shelf", "main"]
flags = "-g -O1"
*/
#include <assert.h>
#include "ready.h"

KEEP int check_shelf(int shelf) {
    assert(shelf == 3);
    AFTER_CALL;
    return shelf + 1;
}

int main(void) {
    int value = check_shelf((int)getpid() & 0);
    AFTER_CALL;
    return value;
}
