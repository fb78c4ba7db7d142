/* crash-test
about = "abort()"
signal = "SIGABRT"
code = "SI_TKILL"
cause = "abort"
frames = ["...", "*abort", "give_up", "main"]
flags = "-g -O1"
[builds.dynamic]
[builds.static]
flags = "-g -O1 -static"
*/
#include "ready.h"

KEEP int give_up(int value) {
    if (value) abort();
    AFTER_CALL;
    return value;
}

int main(void) {
    int value = give_up(1);
    AFTER_CALL;
    return value;
}
