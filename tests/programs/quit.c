/* crash-test
about = "SIGQUIT raised by the program itself"
signal = "SIGQUIT"
code = "SI_TKILL"
frames = ["...", "leave", "main"]
flags = "-g -O1"
*/
#include <signal.h>
#include "ready.h"

KEEP int leave(void) {
    int value = raise(SIGQUIT);
    AFTER_CALL;
    return value;
}

int main(void) {
    int value = leave();
    AFTER_CALL;
    return value;
}
