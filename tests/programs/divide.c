/* crash-test
about = "an integer divided by zero"
signal = "SIGFPE"
code = "FPE_INTDIV"
cause = "division-by-zero"
frames = ["ratio", "main"]
flags = "-g -O1"
*/
#include "ready.h"

volatile int zero;

KEEP int ratio(int value) {
    int result = value / zero;
    AFTER_CALL;
    return result;
}

int main(void) {
    int value = ratio(7);
    AFTER_CALL;
    return value;
}
